"""Compaction, expiry and orphans of Iceberg tables: fewer files, the same rows and offsets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import TableRequirement, TableUpdate

from cdc_platform.core.columns import DELETE, KEY, UPDATE
from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact, expire, remove_orphans
from tests.lake.contract import add, apply, content, keys
from tests.lake.rows import STREAM, fitted, row

NAME = ("shop", "orders")


def files(folder: Path) -> set[str]:
    return {each.name for each in (folder / "shop" / "orders" / "data").rglob("*.parquet")}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize("partition_by", [(), ("_kafka_partition",)])
def test_a_compaction_makes_one_file_a_partition_and_keeps_rows_and_offsets(
    catalog: SqlCatalog, partition_by: tuple[str, ...]
) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG, partition_by)
    for n in range(6):
        handle = table.open(STREAM)
        rows = [row(n % 2, n, f"k{n}", items=[{"sku": "s"}] if n != 1 else None, **{"a.b": n})]
        table.append(handle, fitted(handle, rows), {n % 2: Range(n, n + 1)}, {}, {n % 2: 100 + n})
    before, told = content(table), table.open(STREAM)
    done = compact(catalog, NAME)
    assert (done.files_before, done.files_after) == (6, 2 if partition_by else 1)
    after = table.open(STREAM)
    assert content(table).equals(before)
    assert (
        (after.offsets, after.positions) == (told.offsets, told.positions) == ({0: 5, 1: 6}, {0: 104, 1: 105})
    )
    assert compact(catalog, NAME).files_after == done.files_after
    add(table, [row(0, 6, "k6")], {0: Range(6, 7)})
    assert keys(table) == ["k0", "k2", "k4", "k6", "k1", "k3", "k5"]


def test_a_writer_that_loses_to_a_compaction_opens_the_table_again(catalog: SqlCatalog) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    for n in range(3):
        apply(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
    late = table.open(STREAM)
    compact(catalog, NAME)
    with pytest.raises(Conflict):
        table.merge(late, fitted(late, [row(0, 3, "k1", DELETE)]), {0: Range(3, 4)}, {})
    apply(table, [row(0, 3, "k1", DELETE)], {0: Range(3, 4)})
    assert keys(table) == ["k0", "k2"]


def test_an_expiry_removes_the_files_that_only_old_snapshots_need(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    for n in range(5):
        apply(table, [row(0, n, "k", UPDATE, v=n), row(0, n, f"k{n}")], {0: Range(n, n + 1)})
    compact(catalog, NAME)
    held = files(tmp_path)
    before = content(table)
    assert expire(catalog, NAME, now() - timedelta(hours=1)) == 0
    assert files(tmp_path) == held
    assert expire(catalog, NAME, now() + timedelta(seconds=1)) > 5
    assert len(files(tmp_path)) == 1
    assert content(table).equals(before)
    assert table.open(STREAM).offsets == {0: 5}
    assert len(catalog.load_table(NAME).snapshots()) == 1
    apply(table, [row(0, 5, "k", UPDATE, v=9)], {0: Range(5, 6)})
    assert content(table)["v"].drop_nulls().to_list() == [9]


def test_files_of_killed_writers_go_when_they_are_old(catalog: SqlCatalog, tmp_path: Path) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG)
    add(table, [row(0, 0, "a")], {0: Range(0, 1)})
    known = files(tmp_path)
    data = tmp_path / "shop" / "orders" / "data"
    for name, age in (("old.parquet", 7200), ("young.parquet", 60)):
        (data / name).write_bytes(b"half a file")
        at = (now() - timedelta(seconds=age)).timestamp()
        os.utime(data / name, (at, at))
    assert remove_orphans(catalog, NAME, now() - timedelta(hours=1)) == 1
    assert files(tmp_path) == {*known, "young.parquet"}
    assert remove_orphans(catalog, NAME, now() + timedelta(seconds=1)) == 1
    assert content(table)[KEY].to_list() == ["a"]
    add(table, [row(0, 1, "b")], {0: Range(1, 2)})
    assert keys(table) == ["a", "b"]


def test_the_metadata_stays_small_after_many_commits(catalog: SqlCatalog, tmp_path: Path) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG)
    for n in range(60):
        add(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
    metadata = tmp_path / "shop" / "orders" / "metadata"
    assert len(list(metadata.glob("*.metadata.json"))) <= 22
    grown = newest_metadata(catalog).stat().st_size
    expire(catalog, NAME, now() + timedelta(seconds=1))
    assert newest_metadata(catalog).stat().st_size < min(20_000, grown / 2)


def newest_metadata(catalog: SqlCatalog) -> Path:
    return Path(catalog.load_table(NAME).metadata_location.removeprefix("file://"))


class Overtaking(SqlCatalog):
    """Lets another writer commit before each of its own commits, as long as there are any in ``first``."""

    first: list[Callable[[], None]]

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        if self.first:
            self.first.pop()()
        return super().commit_table(table, requirements, updates)


@pytest.fixture
def overtaken(catalog: SqlCatalog) -> Iterator[Overtaking]:
    made = Overtaking("lake", **catalog.properties)
    made.first = []
    yield made
    made.close()


def test_a_compaction_goes_on_top_of_what_writers_add_meanwhile(
    catalog: SqlCatalog, overtaken: Overtaking
) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG)
    for n in range(4):
        add(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})

    def appending(n: int) -> None:
        add(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})

    overtaken.first = [partial(appending, n) for n in (6, 5, 4)]
    done = compact(overtaken, NAME)
    assert (done.files_before, done.files_after) == (4, 1)
    assert keys(table) == [f"k{n}" for n in range(7)]
    assert len(list(catalog.load_table(NAME).scan().plan_files())) == 4
    assert table.open(STREAM).offsets == {0: 7}


def test_a_compaction_whose_files_a_merge_replaced_meanwhile_is_refused(
    catalog: SqlCatalog, overtaken: Overtaking
) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    for n in range(2):
        apply(table, [row(0, n, f"k{n}", v=n)], {0: Range(n, n + 1)})
    overtaken.first = [lambda: apply(table, [row(0, 2, "k1", DELETE)], {0: Range(2, 3)})]
    with pytest.raises(Conflict, match="replaced the files"):
        compact(overtaken, NAME)
    assert keys(table) == ["k0"]


def test_a_commit_keeps_the_snapshots_before_it(catalog: SqlCatalog) -> None:
    """It is prepared on a table without its past, and put on top of the one with it."""
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    handle = table.open(STREAM)
    for n in range(4):
        rows = fitted(handle, [row(0, n, f"k{n % 2}", UPDATE, **{f"v{n}": n})])
        handle = table.merge(handle, rows, {0: Range(n, n + 1)}, {})
    metadata = catalog.load_table(NAME).metadata
    assert [each.sequence_number for each in metadata.snapshots] == [1, 2, 3, 4]
    assert len(metadata.snapshot_log) == 4
    assert metadata.metadata_log
    assert len(handle.schema) == len(table.open(STREAM).schema)
