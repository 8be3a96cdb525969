"""Rows by which files that a table no longer has differ from those that it has instead.

Invariants
- A row is known by its key, its place in Kafka and the time it was written: rows that stand on both sides
  were only moved from file to file. What stands there twice is two rows.
- Files whose ranges of keys or of offsets do not overlap share no row. So they are held in memory together
  only as far as they overlap, and what was exchanged in a large table is read some files at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import PrimitiveType

from cdc_platform.core.columns import INGESTED, KEY, OFFSET, PARTITION
from cdc_platform.lake.iceberg.arrow import from_file

ROW: Final = (KEY, PARTITION, OFFSET, INGESTED)
"""What a row is known by."""

TOGETHER: Final = 1_000_000
"""Rows of files that are looked at in one go, about 200 bytes each; more only of files that overlap."""

_SIDE: Final = "side"
_ID: Final = b"PARQUET:field_id"


def apart(
    table: Table, schema: Schema, removed: Sequence[DataFile], added: Sequence[DataFile]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows, ROW of each, that only the files have that were removed, and those that only the others have.

    ``schema``: of the rows. Raises OSError and ArrowException.
    """
    narrow = schema.select(*ROW)
    gone, come = [nothing(narrow)], [nothing(narrow)]
    for some in _parts(table, removed, added):
        sides = [
            pl.concat([read(table, each.file, narrow) for each in some if each.added is side] or [gone[0]])
            for side in (False, True)
        ]
        only = _unpaired(*sides)
        gone.append(only[0])
        come.append(only[1])
    return pl.concat(gone), pl.concat(come)


def read(table: Table, file: DataFile, schema: Schema) -> pl.DataFrame:
    """The rows of a file with the columns of the schema; no others are read."""
    with table.io.new_input(file.file_path).open() as source:
        rows = pq.ParquetFile(source)
        known = {str(field.field_id).encode() for field in schema.fields}
        names = [each.name for each in rows.schema_arrow if (each.metadata or {}).get(_ID) in known]
        return pl.DataFrame(from_file(rows.read(names), schema))


def nothing(schema: Schema) -> pl.DataFrame:
    return pl.DataFrame(schema_to_pyarrow(schema).empty_table())


def _unpaired(gone: pl.DataFrame, come: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Without the rows that stand on both sides. Nearly all of these come to lie side by side when all are
    sorted by offset, which costs a fifth of looking for each; so that is only done for the rest."""
    side = pl.col(_SIDE)
    both = pl.concat(
        [rows.with_columns(pl.lit(added).alias(_SIDE)) for rows, added in ((gone, False), (come, True))]
    )
    # To part rows of one partition only would copy them.
    parts = [both] if both[PARTITION].n_unique() <= 1 else both.partition_by(PARTITION)
    rest = pl.concat([_not_beside(part.sort(OFFSET)) for part in parts])
    mine, theirs = rest.filter(~side).drop(_SIDE), rest.filter(side).drop(_SIDE)
    return _without(mine, theirs), _without(theirs, mine)


def _not_beside(rows: pl.DataFrame) -> pl.DataFrame:
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(-1)) for name in ROW)
    alike = rows.select(same & (pl.col(_SIDE) != pl.col(_SIDE).shift(-1))).to_series().fill_null(value=False)
    # In a row of more than two each is paired once: the others are left to be looked for.
    first = alike & ~alike.shift(1, fill_value=False)
    return rows.filter(~(first | first.shift(1, fill_value=False)))


def _without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Also of rows that have no key: truncations, and those of tables without one."""
    return rows.join(others, on=ROW, how="anti", nulls_equal=True)


@dataclass(frozen=True, slots=True)
class _Side:
    """A file. ``added``: of which side. ``spans``: lowest and highest key and offset, as far as known."""

    file: DataFile
    added: bool
    spans: tuple[tuple[Any, Any] | None, ...]

    def may_share(self, other: _Side) -> bool:
        return self.added is not other.added and all(
            mine is None or its is None or (mine[0] <= its[1] and its[0] <= mine[1])
            for mine, its in zip(self.spans, other.spans, strict=True)
        )


def _parts(table: Table, removed: Sequence[DataFile], added: Sequence[DataFile]) -> Iterator[list[_Side]]:
    """All of the files; those that may share a row are in one part."""
    schema = table.schema()
    groups: list[list[_Side]] = []
    for file, of_added in [*((each, False) for each in removed), *((each, True) for each in added)]:
        one = _Side(file, of_added, tuple(_span(schema, file, name) for name in (KEY, OFFSET)))
        mine, others = [one], []
        for group in groups:
            if any(map(one.may_share, group)):
                mine += group
            else:
                others.append(group)
        groups = [*others, mine]
    part: list[_Side] = []
    for group in groups:
        if part and sum(each.file.record_count for each in (*part, *group)) > 2 * TOGETHER:
            yield part
            part = []
        part = part + group
    if part:
        yield part


def _span(schema: Schema, file: DataFile, name: str) -> tuple[Any, Any] | None:
    """None: not known, or there are rows without it."""
    field = schema.find_field(name)
    at = field.field_id
    low, high = (file.lower_bounds or {}).get(at), (file.upper_bounds or {}).get(at)
    if low is None or high is None or (file.null_value_counts or {}).get(at, 1):
        return None
    assert isinstance(field.field_type, PrimitiveType)
    return from_bytes(field.field_type, low), from_bytes(field.field_type, high)
