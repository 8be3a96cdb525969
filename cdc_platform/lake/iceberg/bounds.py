"""Times that a file's bounds cannot tell.

pyiceberg 0.12 reads the bounds of a column from Parquet by way of Python's dates, which have the years 1 to
9999 and nothing else: a file with a time beyond those could not be committed. A column that has one is
written with counts and without bounds from then on, by a property of the table, so that later commits and
compactions can be made, too. Readers prune by all other columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

PREFIX: Final = "write.metadata.metrics.column."
COUNTS: Final = "counts"

_DAYS: Final = (-719_162, 2_932_896)
_MICROS: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""From the year 1 to the end of the year 9999."""


def without_bounds(rows: pa.Table, properties: Mapping[str, str]) -> dict[str, str]:
    """The properties that the table has to get before these rows are written."""
    found = {
        f"{PREFIX}{path}": COUNTS
        for name in rows.column_names
        for path in _beyond(name, rows[name].combine_chunks())
    }
    return {name: value for name, value in found.items() if properties.get(name) != value}


def _beyond(path: str, array: pa.Array) -> Iterator[str]:
    """The paths of columns in it, as Iceberg names them, that hold a time beyond Python's."""
    kind = array.type
    if pa.types.is_struct(kind):
        for field, child in zip(kind, array.flatten(), strict=True):
            yield from _beyond(f"{path}.{field.name}", child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _beyond(f"{path}.element", array.flatten())
    elif (pa.types.is_date32(kind) and _outside(array.view(pa.int32()), _DAYS)) or (
        pa.types.is_timestamp(kind) and _outside(array.view(pa.int64()), _MICROS)
    ):
        yield path


def _outside(numbers: pa.Array, limits: tuple[int, int]) -> bool:
    found = pc.min_max(numbers).as_py()
    low, high = found["min"], found["max"]
    return low is not None and (low < limits[0] or high > limits[1])
