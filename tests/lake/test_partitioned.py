"""A partitioned Delta table keeps the same contract; and what only partitioning can get wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cdc_platform.core.columns import DELETE, INGESTED_ON, KEY, METADATA, OFFSET, OPERATION, PARTITION, UPDATE
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.upkeep import compact, vacuum
from tests.lake.contract import MergeContract, Tables, add, apply, content
from tests.lake.rows import STREAM, Row, row
from tests.lake.test_contract import DeltaContract, replayed

MOVING = (OPERATION, PARTITION)
"""An update moves a row of the current table from one folder to another."""


def partitioned(path: Path, kind: Kind, *columns: str) -> Callable[[], DeltaLakeTable]:
    return lambda: DeltaLakeTable(path, kind, columns)


def on(day: int, offset: int, key: str, operation: str = "c", **fields: object) -> Row:
    return row(0, offset, key, operation, **fields) | {INGESTED_ON: date(2026, 11, day)}


class TestPartitionedChangelog(DeltaContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return partitioned(tmp_path / "orders_changes", Kind.CHANGELOG, INGESTED_ON, PARTITION)


class TestPartitionedCurrent(MergeContract, DeltaContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return partitioned(tmp_path / "orders", Kind.CURRENT, *MOVING)

    def test_the_change_feed_replays_to_the_table_whose_rows_move(self, tables: Tables) -> None:
        apply(tables(), [row(n % 3, n, f"k{n}", n=n) for n in range(6)], {p: Range(0, 6) for p in range(3)})
        second = [row(1, 6, "k1", UPDATE, n=60, extra="x"), row(2, 7, "k2", DELETE), row(0, 8, "k7", n=8)]
        apply(tables(), second, {p: Range(6, 9) for p in range(3)})
        DeltaTable(tables().uri).optimize.compact()
        apply(tables(), [row(0, 9, "k1", UPDATE, n=1), row(2, 10, "k2", n=9)], {0: Range(9, 11)})
        assert replayed(tables().uri) == sorted(content(tables()).select(KEY, OFFSET, "n", "extra").rows())


@pytest.fixture
def daily(tmp_path: Path) -> Callable[[], DeltaLakeTable]:
    """Twenty commits over four days, the last with a new column."""
    tables = partitioned(tmp_path / "orders_changes", Kind.CHANGELOG, INGESTED_ON)
    for n in range(20):
        add(tables(), [on(1 + n // 5, n, f"k{n}", **({"note": "x"} if n > 17 else {}))], {0: Range(n, n + 1)})
    return tables


def test_each_value_has_a_folder_and_every_reader_sees_the_values(daily: Tables) -> None:
    folders = sorted(path.name for path in Path(daily().uri).iterdir() if path.name != "_delta_log")
    assert folders == [f"{INGESTED_ON}=2026-11-0{day}" for day in (1, 2, 3, 4)]
    ours = content(daily())
    assert list(ours.schema) == [*METADATA, "note"]
    assert ours[INGESTED_ON].to_list() == [date(2026, 11, 1 + n // 5) for n in range(20)]
    table = DeltaTable(daily().uri)
    for theirs in (pl.scan_delta(table).collect(), pl.DataFrame(pa.table(table.to_pyarrow_table()))):
        assert theirs.select(ours.columns).sort(OFFSET).cast(dict(ours.schema)).equals(ours)
    feed = pl.DataFrame(table.load_cdf(starting_version=0).read_all()).sort(OFFSET)
    assert feed[INGESTED_ON].to_list() == ours[INGESTED_ON].to_list()


def test_upkeep_compacts_within_the_folders_and_changes_no_row(daily: Tables) -> None:
    before = content(daily())
    done = compact(Path(daily().uri))
    assert (done.files_before, done.files_after) == (20, 4)
    assert vacuum(Path(daily().uri), retention_hours=0) >= 20
    assert content(daily()).equals(before)
    assert content(daily(), {0: Range(4, 6)})[INGESTED_ON].to_list() == [date(2026, 11, 1), date(2026, 11, 2)]
    assert daily().open(STREAM).offsets == {0: 20}


def test_commits_and_counts_are_told_as_of_any_table(daily: Tables) -> None:
    table = daily()
    assert isinstance(table, DeltaLakeTable)
    handle, rows = table.snapshot()
    assert (handle.version, rows) == (20, 20)
    assert handle.schema == table.open(STREAM).schema
    assert table.rows().select(pl.len()).collect().item() == 20


def test_files_of_other_partitions_are_not_read(tmp_path: Path) -> None:
    tables = partitioned(tmp_path / "t", Kind.CHANGELOG, PARTITION)
    add(
        tables(), [row(p, n, f"k{n}") for p in range(3) for n in range(9)], {p: Range(0, 9) for p in range(3)}
    )
    for folder in (0, 2):
        for file in (tmp_path / "t" / f"{PARTITION}={folder}").iterdir():
            file.unlink()
    handle = tables().open(STREAM)
    assert tables().read(handle, {1: Range(2, 5)}).collect()[OFFSET].sort().to_list() == [2, 3, 4]
    assert tables().row_bytes(handle, {1: Range(0, 9)}) > 0


def test_a_null_is_a_value_as_any_other(tmp_path: Path) -> None:
    """No row of ours has one; a table that somebody repaired may."""
    tables = partitioned(tmp_path / "t", Kind.CURRENT, INGESTED_ON)
    apply(tables(), [row(0, 0, "a", n=1) | {INGESTED_ON: None}, row(0, 1, "b", n=2)], {0: Range(0, 2)})
    apply(tables(), [row(0, 2, "b", UPDATE, n=3) | {INGESTED_ON: None}], {0: Range(2, 3)})
    assert content(tables()).select(KEY, "n", INGESTED_ON).rows() == [("a", 1, None), ("b", 3, None)]
    apply(tables(), [row(0, 3, "a", UPDATE, n=4)], {0: Range(3, 4)})
    assert content(tables()).select(KEY, "n").rows() == [("b", 3), ("a", 4)]


def test_a_folder_above_that_looks_like_a_value_is_none(tmp_path: Path) -> None:
    tables = partitioned(tmp_path / "env=prod" / "my lake 100% é" / "t", Kind.CHANGELOG, PARTITION, OPERATION)
    add(tables(), [row(p, 0, "k") for p in range(3)], {p: Range(0, 1) for p in range(3)})
    assert content(tables()).select(PARTITION, OPERATION).rows() == [(0, "c"), (1, "c"), (2, "c")]


@pytest.mark.parametrize(
    ("made", "declared"), [((), (INGESTED_ON,)), ((INGESTED_ON,), ()), (MOVING, MOVING[::-1])]
)
def test_a_table_that_is_partitioned_otherwise_than_declared_is_refused_and_can_be_read(
    tmp_path: Path, made: tuple[str, ...], declared: tuple[str, ...]
) -> None:
    before = partitioned(tmp_path / "t", Kind.CURRENT, *made)
    apply(before(), [row(0, 0, "a")], {0: Range(0, 1)})
    table = partitioned(tmp_path / "t", Kind.CURRENT, *declared)()
    with pytest.raises(Terminal, match="partitioned by") as raised:
        table.open(STREAM)
    assert raised.value.where == table.uri
    assert "partition_by" in raised.value.remedy
    assert table.rows().collect()[KEY].to_list() == ["a"]


def test_types_that_are_stored_as_text_are_remembered_when_columns_are_added(tmp_path: Path) -> None:
    tables = partitioned(tmp_path / "t", Kind.CURRENT, *MOVING)
    identity = {"$oid": "65f0c0ffee65f0c0ffee65f0"}
    apply(tables(), [row(0, 0, "a", of=identity)], {0: Range(0, 1)})
    made = apply(
        tables(), [row(0, 1, "b", of=identity, seen=[identity], at={"id": identity})], {0: Range(1, 2)}
    )
    wrapper = pl.Struct({"$oid": pl.String})
    assert made.logical == tables().open(STREAM).logical
    assert list(made.logical.items())[len(METADATA) :] == [
        ("of", wrapper),
        ("seen", pl.List(wrapper)),
        ("at", pl.Struct({"id": wrapper})),
    ]
    assert content(tables())["of"].to_list() == [identity["$oid"]] * 2
