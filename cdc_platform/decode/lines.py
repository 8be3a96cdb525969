"""JSON texts, one object each, parsed as one block into an Arrow table: strictly, row for row.

pyarrow's reader is strict where it matters: one field with a string here and a number there, a fraction for
an integer, a duplicate key or half a surrogate pair is an error, never a guess. What it lets through is caught:
- It skips blank lines, takes two objects on a line, and crashes the process on a line ``null`` (pyarrow 26).
  So each text must begin with ``{`` and end with ``}``, and the rows are counted: two texts can then neither
  melt into one row nor one text become two.
- It takes texts that look like dates for timestamps, which loses how they were written. They stay texts.
- It rounds integers that share a field with fractions, or exceed 64 bits (``numbers.py`` finds those).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.json as pj

MIN_BLOCK_BYTES: Final = 4 << 20

NOTHING: Final = pa.schema([])

_FIELD: Final = re.compile(r"Column\((?P<path>/.*)\) (?P<what>.*?)(?: in row \d+)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why texts could not be parsed; ``typed``: a field has values that do not go together.

    The rows named by the parser are left out: it counts them by block.
    """

    reason: str
    typed: bool = False


def parse(texts: pl.Series, schema: pa.Schema, *, infer: bool) -> pa.Table | Unreadable:
    """One row a text. ``texts``: String without nulls.

    ``schema``: fields that must have these types; a field that no text has becomes a column of nulls.
    ``infer``: whether other fields are taken too (with the type they have) or ignored.
    """
    if texts.is_empty():
        return schema.empty_table()
    if not (texts.str.starts_with("{") & texts.str.ends_with("}")).all():
        return Unreadable("not a JSON object")
    table = _read(texts, schema, infer=infer)
    if isinstance(table, Unreadable):
        return table
    if (dated := _dates_as_text(table.schema)) != table.schema:
        return parse(texts, dated, infer=infer)
    if len(table) != len(texts):
        return Unreadable("more than one JSON object")
    return table


def _read(texts: pl.Series, schema: pa.Schema, *, infer: bool) -> pa.Table | Unreadable:
    # The one contiguous buffer of an Arrow string array is the file that the reader wants.
    buffer = (texts + "\n").to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    longest = texts.str.len_bytes().max()
    block = max(MIN_BLOCK_BYTES, longest + 2 if isinstance(longest, int) else 0)
    behavior = "infer" if infer else "ignore"
    try:
        return pj.read_json(
            pa.BufferReader(buffer),
            read_options=pj.ReadOptions(block_size=block),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behavior),
        )
    except pa.ArrowInvalid as error:
        return _unreadable(str(error))


def _unreadable(message: str) -> Unreadable:
    """From, say, ``JSON parse error: Column(/a/[]/b) changed from string to number in row 3``."""
    found = _FIELD.search(message)
    if found is None:
        return Unreadable(message.partition(" in row ")[0])
    path = found["path"].replace("/[]", "[]").replace("/", ".").removeprefix(".")
    return Unreadable(f"field {path} {found['what']}", typed=True)


def known(schema: pa.Schema) -> pa.Schema:
    """The fields of a schema whose types are known in full: what may be handed to the next ``parse``."""
    return pa.schema([each for each in map(_known, schema) if each])


def _known(field: pa.Field) -> pa.Field | None:
    if pa.types.is_null(field.type):
        return None
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([each for each in map(_known, field.type) if each]))
    if pa.types.is_list(field.type):
        items = _known(field.type.value_field)
        return items and field.with_type(pa.list_(items))
    return field


def _dates_as_text(schema: pa.Schema) -> pa.Schema:
    return pa.schema([each.with_type(_date_as_text(each.type)) for each in schema])


def _date_as_text(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([each.with_type(_date_as_text(each.type)) for each in dtype])
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_date_as_text(dtype.value_type)))
    return dtype
