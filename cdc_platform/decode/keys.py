"""The text of a row's key: ``{"id":1}``, ``{"order":7,"line":2}``.

Invariant: two rows have the same text only if they have the same key. The text depends on the key's columns
and values alone, not on how they were sent: compact JSON, integers and booleans as they are, everything else
as the text of its value.
"""

from __future__ import annotations

import polars as pl

from cdc_platform.core.logical import is_wrapper


def key_texts(columns: pl.DataFrame) -> pl.Series:
    """One text a row, null where all columns of the key are null. ``columns``: by their logical types."""
    plain = [_plain(column) for column in columns]
    there = pl.any_horizontal([pl.col(column.name).is_not_null() for column in plain])
    text = pl.when(there).then(pl.struct(pl.all()).struct.json_encode())
    return pl.DataFrame(plain).select(text.alias("key"))["key"]


def _plain(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if is_wrapper(dtype):
        return column.struct.field(dtype.fields[0].name).alias(column.name)  # type: ignore[attr-defined]
    match dtype:
        case pl.Binary():
            return column.bin.encode("hex")
        case pl.Datetime():
            zone = "Z" if dtype.time_zone else ""
            return column.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.6f{zone}")
        case pl.Date() | pl.Decimal():
            return column.cast(pl.String)
        case pl.Float64():
            return pl.Series(column.name, [None if v is None else repr(v) for v in column], dtype=pl.String)
    return column
