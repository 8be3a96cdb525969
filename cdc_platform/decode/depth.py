"""How deep documents may nest.

MongoDB takes 180 levels. Delta's readers give up on a schema of some 40 documents in each other, Parquet's on
one of 50 lists in each other, and Arrow's parser ends the process at some 10,000. So columns go down to
``COLUMN_LEVELS``; what nests deeper there is no misfit by its type but by its depth, and its text is kept.
Nothing that is deeper than ``TEXT_LEVELS`` may reach a parser: it did not come from MongoDB.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from cdc_platform.core.logical import instance, is_wrapper

COLUMN_LEVELS: Final = 32
"""A column of plain values has one level; each list and each document around them is one more."""

TEXT_LEVELS: Final = 200

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_INNERMOST: Final = r"\[[^\[\]{}]*\]|\{[^\[\]{}]*\}"


def levels(dtype: pl.DataType) -> int:
    """How many levels values of a type have."""
    match dtype:
        case pl.List():
            return 1 + levels(instance(dtype.inner))
        case pl.Struct() if not is_wrapper(dtype):
            return 1 + max((levels(instance(each.dtype)) for each in dtype.fields), default=0)
    return 1


def too_deep(texts: pl.Series) -> list[int]:
    """Indices of JSON texts that nest deeper than TEXT_LEVELS."""
    # Most texts have too few brackets for that. Of the rest one level is taken off at a time.
    rows = pl.DataFrame({"text": texts}).with_row_index().filter(_brackets() > TEXT_LEVELS)
    rows = rows.with_columns(pl.col("text").str.replace_all(_STRING, ""))
    for _ in range(TEXT_LEVELS):
        if rows.is_empty():
            break
        rows = rows.with_columns(pl.col("text").str.replace_all(_INNERMOST, "")).filter(_brackets() > 0)
    return rows["index"].to_list()


def _brackets() -> pl.Expr:
    return pl.col("text").str.count_matches(r"[\[{]")
