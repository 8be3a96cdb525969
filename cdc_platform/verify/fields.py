"""Canonical cells of a lake table's columns, values kept as JSON text beside their column included.

A value that does not fit its column is kept as extended JSON in ``<field>__json`` and the column is null in
that row. Here it is the field's value again, in the shape the column would have had: numbers as numbers,
``$oid`` and ``$numberDecimal`` as text, ``$date`` as a time, other wrappers as documents.

Limit: a document that itself has a field of such a name, holding text, is reported as different. A loud false
alarm, never a false pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from cdc_platform.core.digest import Moment, column_cells, encode

SIDE: Final = "__json"
"""Suffix of the column that holds, as extended JSON, the values that do not fit the column of that name."""


def cells_of(fields: pl.DataFrame) -> Mapping[str, Sequence[bytes | None]]:
    """Field name → canonical bytes of each row, None where the row has no such field."""
    cells: dict[str, Sequence[bytes | None]] = {}
    sides = []
    for column in fields.get_columns():
        if column.name.endswith(SIDE) and column.dtype == pl.String():
            sides.append(column)
        else:
            cells[column.name] = column_cells(column)
    for side in sides:
        name = side.name.removesuffix(SIDE)
        kept = [None if text is None else encode(plain(text)) for text in side.to_list()]
        fitting = cells.get(name, [None] * len(kept))
        cells[name] = [_only(fits, aside) for fits, aside in zip(fitting, kept, strict=True)]
    return cells


def plain(text: str) -> Any:
    """The value of a piece of extended JSON, as the canonical form takes it."""
    return _plain(json.loads(text))


def _only(fits: bytes | None, aside: bytes | None) -> bytes | None:
    # Both at once is damage: joined, they equal nothing that a source can have.
    return fits + b"|" + aside if fits is not None and aside is not None else fits or aside


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (reader := _WRAPPERS.get(next(iter(value)))) is not None:
        return reader(next(iter(value.values())))
    return {name: _plain(v) for name, v in value.items()}


def _date(value: Any) -> Any:
    match value:
        case {"$numberLong": milliseconds}:
            return Moment(int(milliseconds) * 1000)
        case int():
            return Moment(value * 1000)
    return datetime.fromisoformat(value)


_WRAPPERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$oid": str,
    "$numberDecimal": str,
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": float,
    "$date": _date,
}
