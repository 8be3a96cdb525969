"""Values that events did not send, as their keys' earlier records sent them.

Invariant: a value that no record tells stays unknown; it is never the one that the lake has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION

_PLACE: Final = [PARTITION, OFFSET]


@dataclass(frozen=True, slots=True)
class Whole:
    """``rows``: with the values of before in the place of those not sent. ``holes``: places, and a column of
    booleans for each field: those that are still not known."""

    rows: pl.DataFrame
    holes: pl.DataFrame


def whole_of(rows: pl.DataFrame, unsent: pl.DataFrame) -> Whole:
    """``rows``: KEY, places and fields, of each key from some place on without a gap, in any order.
    ``unsent``: places, and a column of booleans for each field that may not have been sent."""
    fields = [name for name in unsent.columns if name in rows.columns and name not in (KEY, *_PLACE)]
    marks = unsent.select(_PLACE + fields).unique(_PLACE)
    if not fields:
        return Whole(rows, marks)
    marked = rows.join(marks, on=_PLACE, how="left", suffix=_MARK).sort(_PLACE)
    values = marked.select(*_PLACE, *(_carried(name) for name in fields))
    known = marked.with_columns(values[name].struct.field("v").alias(name) for name in fields)
    holes = values.select(*_PLACE, *(pl.col(name).is_null() for name in fields))
    return Whole(known.select(rows.columns), holes.filter(_anything(fields)))


_MARK: Final = " not sent"


def _anything(fields: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(value=False), *map(pl.col, fields))


def _carried(name: str) -> pl.Expr:
    """The last value sent, in a struct: null only if none was."""
    sent = ~pl.col(f"{name}{_MARK}").fill_null(value=False)
    return (
        pl.when(sent).then(pl.struct(pl.col(name).alias("v"))).forward_fill().over(KEY, PARTITION).alias(name)
    )
