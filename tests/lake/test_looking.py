"""Looking at a table without its stream: as it is now, and as it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import DELETE, KEY, UPDATE
from cdc_platform.core.errors import Terminal
from cdc_platform.core.history import Forgotten
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import Lake, StoredTable
from cdc_platform.lake.delta.lake import DeltaLake
from cdc_platform.lake.iceberg.lake import IcebergLake
from cdc_platform.lake.s3 import S3Folder
from tests.lake.contract import add, apply
from tests.lake.rows import STREAM, fitted, row

NAME = ("shop", "orders")


@dataclass
class Clock:
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["delta", "delta in S3", "iceberg"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, catalog: SqlCatalog, clock: Clock) -> Lake:
    match request.param:
        case "delta":
            return DeltaLake(tmp_path)
        case "iceberg":
            return IcebergLake(lambda: catalog, clock.now, "here")
    bucket: S3Folder = request.getfixturevalue("bucket")
    return DeltaLake(bucket)


@pytest.fixture
def current(lake: Lake) -> StoredTable:
    """First a and b; then another a, no b, and a column more."""
    table = lake.table(NAME, Kind.CURRENT)
    handle = table.open(STREAM)
    rows = [row(0, 0, "a", v=1), row(2, 0, "b", v=1)]
    table.merge(handle, fitted(handle, rows), {0: Range(0, 1), 2: Range(0, 1)}, {})
    apply(table, [row(0, 1, "a", UPDATE, v=2, w="new"), row(2, 1, "b", DELETE)], {0: Range(1, 2)})
    return table


def first(lake: Lake, newest: int) -> int:
    """The version with a and b: what a Delta table gains in columns is a version of its own."""
    return next(v for v in range(newest) if lake.history(NAME).rows(v).collect().height == 2)


def values(rows: pl.LazyFrame) -> list[tuple[str, int]]:
    return sorted(rows.select(KEY, "v").collect().rows())


def test_a_table_tells_its_stream_and_where_it_stands(current: StoredTable) -> None:
    seen, count = current.snapshot()
    opened = current.open(STREAM)
    assert (seen.stream, seen.offsets) == (STREAM.identity, opened.offsets)
    assert (seen.partitions, seen.schema) == (opened.partitions, opened.schema)
    assert count == 1
    assert values(current.read(seen)) == [("a", 2)]
    assert values(current.read(seen, {2: Range(0, 9)})) == []


def test_looking_creates_no_table(lake: Lake) -> None:
    table = lake.table(("shop", "nothing"), Kind.CURRENT)
    with pytest.raises(Terminal, match="no such"):
        table.snapshot()
    assert not table.exists()


def test_rows_are_those_of_the_version_with_its_columns(lake: Lake, current: StoredTable) -> None:
    newest = current.snapshot()[0].version
    past = lake.history(NAME)
    assert values(past.rows(first(lake, newest))) == [("a", 1), ("b", 1)]
    assert "w" not in past.rows(first(lake, newest)).collect_schema()
    assert values(past.rows(newest)) == [("a", 2)]
    assert past.rows(newest).collect()["w"].to_list() == ["new"]
    assert past.rows(0).collect().is_empty()
    with pytest.raises(Forgotten):
        past.rows(newest + 1)


def test_a_version_whose_files_were_cleaned_is_forgotten(
    lake: Lake, current: StoredTable, clock: Clock
) -> None:
    newest = current.snapshot()[0].version
    old = first(lake, newest)
    clock.ahead = timedelta(seconds=1)
    assert lake.clean(NAME, 0)
    with pytest.raises(Forgotten, match=f"version {old}"):
        lake.history(NAME).rows(old)
    assert values(lake.history(NAME).rows(newest)) == [("a", 2)]


def test_what_was_the_newest_within_the_hours_stays_however_old_it_is(
    lake: Lake, current: StoredTable, clock: Clock
) -> None:
    begun = current.rows()
    clock.ahead = timedelta(minutes=59)
    lake.compact(NAME)
    apply(current, [row(0, 2, "a", UPDATE, v=3)], {0: Range(2, 3)})
    assert lake.clean(NAME, 1) == 0
    assert values(begun) == [("a", 2)]


def test_files_that_are_gone_already_are_not_counted_again(
    lake: Lake, current: StoredTable, clock: Clock
) -> None:
    clock.ahead = timedelta(seconds=1)
    assert lake.clean(NAME, 0)
    assert lake.clean(NAME, 0) == 0


def test_dead_letters_are_compacted_as_any_table(lake: Lake) -> None:
    name = ("shop", "orders_deadletters")
    table = lake.table(name, "dead_letters")
    for n in range(3):
        handle = table.open(STREAM)
        letter = pl.DataFrame([{"_kafka_partition": 0, "_kafka_offset": n}], schema=handle.schema)
        table.append(handle, letter, {}, {})
    assert (lake.compact(name).files_after, table.snapshot()[1]) == (1, 3)


def test_a_changelog_is_looked_at_the_same_way(lake: Lake) -> None:
    table = lake.table(("shop", "orders_changes"), Kind.CHANGELOG)
    for n in range(3):
        add(table, [row(0, n, f"k{n}", v=n)], {0: Range(n, n + 1)})
    seen, count = table.snapshot()
    assert (seen.offsets, count) == ({0: 3}, 3)
    assert values(table.read(seen, {0: Range(1, 2)})) == [("k1", 1)]
