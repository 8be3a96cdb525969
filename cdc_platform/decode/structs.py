"""Structs built from their fields. A struct that is null stays null: it does not become one of nulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from cdc_platform.decode.shape import Shape

_THERE: Final = " there"
"""No field's name."""


def each_field(
    values: pl.Series, shape: Shape, convert: Callable[[pl.Series, Shape], pl.Series]
) -> pl.Series:
    """Structs of this shape, each field converted as its own shape says."""
    parts = [convert(values.struct.field(each.name), each.shape).alias(each.name) for each in shape.fields]
    return structs(parts, values.is_not_null()).alias(values.name)


def structs(parts: Sequence[pl.Series], there: pl.Series) -> pl.Series:
    """``there``: where a struct is not null."""
    frame = pl.DataFrame([*parts, there.alias(_THERE)])
    row = pl.struct(each.name for each in parts)
    return frame.select(pl.when(_THERE).then(row).alias(_THERE))[_THERE]
