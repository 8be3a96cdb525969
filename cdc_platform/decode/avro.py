"""Avro records of one schema as columns.

Confluent's wire format is a zero byte, the schema's id (4 bytes, big-endian) and one datum. The datums of one
schema are put into one object container in memory and read at once: several times faster than datum by datum.

Invariants
- The container's schema has the datums' structure and nothing else: logical types are left out, so that bytes
  stay bytes, and what they mean is decided in one place for all wire formats (``semantic``).
- Rows are counted. A datum that is too short or too long spoils the datums after it; the whole container is
  refused then, and halves of it tell which (``refusal.sift``).

Source: Avro 1.12 specification, object container files.
"""

from __future__ import annotations

import io
from typing import Any, Final

import orjson
import polars as pl
import polars_avro

HEADER_BYTES: Final = 5
_STRUCTURE: Final = frozenset({"type", "name", "namespace", "fields", "items", "values", "symbols", "size"})
_SYNC: Final = b"cdc-platform-avr"
_BLOCK_ROWS: Final = 8_192


def schema_ids(values: pl.Series) -> pl.Series:
    """The schema id of each record, null for a record that is not in this format."""
    ids = pl.when(pl.col("v").bin.head(1) == pl.lit(b"\0")).then(
        pl.col("v").bin.slice(1, 4).bin.reinterpret(dtype=pl.UInt32, endianness="big")
    )
    return pl.DataFrame({"v": values}).select(ids.alias("id"))["id"]


def structure(schema: Any) -> Any:
    """A schema without what its types mean."""
    if isinstance(schema, dict):
        return {name: structure(each) for name, each in schema.items() if name in _STRUCTURE}
    return [structure(each) for each in schema] if isinstance(schema, list) else schema


def read_datums(values: pl.Series, schema: Any) -> pl.DataFrame | str:
    """A row a record, a column a field of the schema's record; or why that is not possible.

    ``values``: records of this one schema, without nulls. ``schema``: parsed, a record.
    """
    if values.is_empty():
        return pl.DataFrame()
    try:
        frame = polars_avro.read_avro(io.BytesIO(_container(values, orjson.dumps(structure(schema)))))
    except Exception as error:
        return f"not written with its schema: {str(error).splitlines()[0]}"
    if frame.height != len(values):
        return "not written with its schema: it holds more or less than one value"
    return frame


def _container(values: pl.Series, schema: bytes) -> bytes:
    header = b"".join(
        (b"Obj\x01", _number(2), _text(b"avro.schema"), _text(schema), _text(b"avro.codec"), _text(b"null"))
    )
    parts: list[bytes | memoryview] = [header, _number(0), _SYNC]
    for rows in values.to_frame("v").iter_slices(_BLOCK_ROWS):
        # A fresh Arrow array has its values one after the other in one buffer.
        datums = rows.select(pl.col("v").bin.slice(HEADER_BYTES))["v"].rechunk()
        array = datums.to_arrow(compat_level=pl.CompatLevel.oldest())
        data = memoryview(array.buffers()[2])[: array.total_values_length]
        parts += [_number(len(datums)), _number(len(data)), data, _SYNC]
    return b"".join(parts)


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value


def _number(value: int) -> bytes:
    """Zigzag, in groups of seven bits, the lowest first."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
