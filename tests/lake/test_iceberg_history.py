"""The past of an Iceberg table: what a commit changed, and what is gone is never an empty answer."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import DELETE, KEY, OFFSET, PARTITION, UPDATE
from cdc_platform.core.errors import Transient
from cdc_platform.core.history import CHANGE, COMMIT, REBUILT, Damaged, Forgotten
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import RANGES, Range, describe
from cdc_platform.lake.iceberg.history import IcebergHistory
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact, expire
from tests.lake.contract import add, apply
from tests.lake.rows import STREAM, fitted, frame, row

NAME = ("shop", "orders")


@pytest.fixture
def current(catalog: SqlCatalog) -> IcebergLakeTable:
    return IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)


@pytest.fixture
def history(catalog: SqlCatalog) -> IcebergHistory:
    return IcebergHistory(lambda: catalog, NAME)


def changed(history: IcebergHistory, after: int, upto: int) -> list[tuple[int, str, str, int | None]]:
    found = pl.concat(history.changes(after, upto), how="diagonal")
    return sorted(found.select(COMMIT, CHANGE, KEY, "v").rows(), key=repr)


def test_inserts_updates_and_deletes_are_told_with_their_images(
    current: IcebergLakeTable, history: IcebergHistory
) -> None:
    apply(current, [row(0, 0, "a", v=1), row(0, 1, "b", v=1), row(0, 2, "c", v=1)], {0: Range(0, 3)})
    apply(
        current, [row(0, 3, "a", UPDATE, v=2), row(0, 4, "b", DELETE), row(0, 5, "d", v=1)], {0: Range(3, 6)}
    )
    apply(current, [row(0, 6, "ghost", DELETE)], {0: Range(6, 7)})
    assert changed(history, 0, 3) == [
        (1, "insert", "a", 1),
        (1, "insert", "b", 1),
        (1, "insert", "c", 1),
        (2, "delete", "b", 1),
        (2, "insert", "d", 1),
        (2, "update_postimage", "a", 2),
        (2, "update_preimage", "a", 1),
    ]
    assert changed(history, 2, 3) == []


def test_a_compaction_changes_no_row(
    current: IcebergLakeTable, history: IcebergHistory, catalog: SqlCatalog
) -> None:
    for n in range(3):
        apply(current, [row(0, n, f"k{n}", v=n)], {0: Range(n, n + 1)})
    compact(catalog, NAME)
    assert changed(history, 3, 4) == []
    [commit] = history.commits(3, 4)
    assert (commit.version, commit.ours, commit.ranges, commit.applied) == (4, True, {}, None)


def test_commits_tell_what_they_did(current: IcebergLakeTable, history: IcebergHistory) -> None:
    handle = current.open(STREAM)
    info = {RANGES: describe({0: Range(0, 2)}), "cdc.rows": '{"in": 2, "applied": {"c": 2}}'}
    current.merge(handle, fitted(handle, [row(0, 0, "a"), row(0, 1, "b")]), {0: Range(0, 2)}, info)
    [commit] = history.commits(0, 9)
    assert (commit.version, commit.operation, commit.ours) == (1, "append", True)
    assert (commit.ranges, commit.applied, commit.written) == ({0: Range(0, 2)}, 2, 2)
    assert abs(commit.committed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_changes_over_a_snapshot_that_expired_are_forgotten(
    current: IcebergLakeTable, history: IcebergHistory, catalog: SqlCatalog
) -> None:
    for n in range(3):
        apply(current, [row(0, n, f"k{n}", v=n)], {0: Range(n, n + 1)})
    expire(catalog, NAME, datetime.now(UTC) + timedelta(seconds=1))
    assert [each.version for each in history.commits(-1, 3)] == [3]
    with pytest.raises(Forgotten, match="version 2"):
        list(history.changes(1, 3))


def test_a_file_that_is_damaged_or_missing_is_named(
    current: IcebergLakeTable, history: IcebergHistory, tmp_path: Path
) -> None:
    apply(current, [row(0, 0, "a", v=1)], {0: Range(0, 1)})
    assert history.damaged() == ()
    [path] = (tmp_path / "shop" / "orders" / "data").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    (told,) = history.damaged()
    assert path.name in told
    with pytest.raises(Damaged, match="version 1 cannot be read"):
        list(history.changes(0, 1))
    path.unlink()
    assert history.damaged() == (f"data file {path.name} is missing",)
    with pytest.raises(Forgotten, match="not there any more"):
        list(history.changes(0, 1))


def test_a_table_made_anew_has_another_identity(catalog: SqlCatalog, history: IcebergHistory) -> None:
    IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT).open(STREAM)
    first = history.identity()
    assert history.identity() == first
    catalog.drop_table(NAME)
    IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT).open(STREAM)
    assert history.identity() != first


def test_no_table_is_one_clear_message(history: IcebergHistory) -> None:
    with pytest.raises(Transient, match="could not be loaded"):
        history.identity()


def test_some_columns_of_a_change_come_alone(current: IcebergLakeTable, history: IcebergHistory) -> None:
    apply(current, [row(0, 0, "a", v=1, items=[{"sku": "s"}])], {0: Range(0, 1)})
    [found] = history.changes(0, 1, columns=[OFFSET])
    assert found.columns == [OFFSET, CHANGE, COMMIT]


def told(history: IcebergHistory, after: int, upto: int) -> list[tuple[str, str]]:
    return sorted(pl.concat(history.differences(after, upto)).select(KEY, CHANGE).rows())


def test_two_versions_differ_by_the_rows_that_are_not_in_both_whatever_came_between(
    current: IcebergLakeTable, history: IcebergHistory, catalog: SqlCatalog
) -> None:
    apply(current, [row(0, n, f"k{n}", v=n) for n in range(6)], {0: Range(0, 6)})
    for n in range(6, 9):
        apply(current, [row(0, n, "k1", UPDATE, v=n)], {0: Range(n, n + 1)})
    apply(current, [row(0, 9, "comes and goes"), row(0, 10, "k2", DELETE)], {0: Range(9, 11)})
    compact(catalog, NAME)
    apply(current, [row(0, 11, "comes and goes", DELETE), row(0, 12, "stays")], {0: Range(11, 13)})
    assert told(history, 1, 7) == [("k1", "delete"), ("k1", "insert"), ("k2", "delete"), ("stays", "insert")]
    assert told(history, 0, 1) == [(f"k{n}", "insert") for n in range(6)]
    assert told(history, 7, 7) == []


def test_any_history_differs_by_its_rows(catalog: SqlCatalog, current: IcebergLakeTable) -> None:
    history, chance, ends = IcebergHistory(lambda: catalog, NAME), random.Random(5), [0, 0]
    states: list[set[tuple[object, ...]]] = [set()]
    for _ in range(12):
        rows = []
        for partition in range(2):
            for key in chance.sample(range(12), chance.randint(0, 4)):
                kind = chance.choice([UPDATE, UPDATE, DELETE])
                rows.append(row(partition, ends[partition], f"{partition}-{key}", kind, v=key))
                ends[partition] += 1
        apply(current, rows, {p: Range(0, end) for p, end in enumerate(ends)})
        found = current.rows().select(KEY, PARTITION, OFFSET).collect()
        states.append(set(found.rows()))
    for after, then in enumerate(states):
        for upto, now in enumerate(states[after:], after):
            expected = [(row[0], "delete") for row in then - now] + [(row[0], "insert") for row in now - then]
            assert told(history, after, upto) == sorted(expected), (after, upto)


def test_of_rows_that_are_there_twice_each_is_told(
    current: IcebergLakeTable, history: IcebergHistory
) -> None:
    twice = [row(0, 0, "a", v=1), row(0, 0, "a", v=1), row(0, 1, "b", v=1)]
    add(current, twice, {0: Range(0, 2)})
    assert changed(history, 0, 1) == [(1, "insert", "a", 1), (1, "insert", "a", 1), (1, "insert", "b", 1)]
    add(current, twice[:1], {})
    apply(current, [row(0, 2, "a", DELETE)], {0: Range(2, 3)})
    assert changed(history, 2, 3) == [(3, "delete", "a", 1)] * 3
    assert told(history, 1, 3) == [("a", "delete"), ("a", "delete")]


def test_what_another_program_changed_is_not_known_by_the_rows_places(
    current: IcebergLakeTable, history: IcebergHistory, catalog: SqlCatalog
) -> None:
    apply(current, [row(0, 0, "a", v=1)], {0: Range(0, 1)})
    table = catalog.load_table(NAME)
    rows = table.scan().to_arrow()
    at = rows.schema.get_field_index("v")
    table.overwrite(rows.set_column(at, rows.schema.field(at), pa.array([2], rows.schema.field(at).type)))
    upto = catalog.load_table(NAME).metadata.last_sequence_number
    with pytest.raises(Forgotten, match="another program"):
        list(history.differences(1, upto))


def test_files_that_are_gone_do_not_make_two_versions_alike(
    current: IcebergLakeTable, history: IcebergHistory, catalog: SqlCatalog, tmp_path: Path
) -> None:
    apply(current, [row(0, 0, "a", v=1)], {0: Range(0, 1)})
    [path] = (tmp_path / "shop" / "orders" / "data").glob("*.parquet")
    apply(current, [row(0, 1, "a", UPDATE, v=2)], {0: Range(1, 2)})
    away = path.rename(tmp_path / path.name)
    with pytest.raises(Forgotten, match="not there any more"):
        list(history.differences(1, 2))
    away.rename(path)
    expire(catalog, NAME, datetime.now(UTC) + timedelta(seconds=1))
    with pytest.raises(Forgotten, match="version 1"):
        list(history.differences(1, 2))


def test_rows_without_a_key_are_among_the_changes(catalog: SqlCatalog) -> None:
    name = ("shop", "log_changes")
    table = IcebergLakeTable(lambda: catalog, name, Kind.CHANGELOG)
    handle = table.open(STREAM)
    rows = [{**row(0, n, "k", v=n), KEY: None} for n in range(2)]
    table.append(handle, fitted(handle, rows), {0: Range(0, 2)}, {})
    [found] = IcebergHistory(lambda: catalog, name).changes(0, 1)
    assert found.select(CHANGE, OFFSET).rows() == [("insert", 0), ("insert", 1)]


def test_changes_do_not_reach_over_a_rebuild_and_rows_of_either_side_have_their_columns(
    current: IcebergLakeTable, history: IcebergHistory
) -> None:
    apply(current, [row(0, 0, "a", v=1, name="n"), row(0, 1, "b", v=2)], {0: Range(0, 2)})
    apply(current, [row(0, 2, "a", UPDATE, v=3, name="n")], {0: Range(2, 3)})
    rows = frame([row(0, 2, "a", v="three", items=[3])])
    current.replace(current.open(STREAM), [rows], rows.schema, {0: 3}, {REBUILT: "a new snapshot"})
    apply(current, [row(0, 3, "a", UPDATE, v="four", items=[4])], {0: Range(3, 4)})
    assert [(c.version, c.rebuilt, c.ours) for c in history.commits(1, 4)] == [
        (2, False, True),
        (3, True, True),
        (4, False, True),
    ]
    for after, upto in ((0, 4), (2, 3), (1, 3)):
        with pytest.raises(Forgotten, match="rebuilt in version 3") as raised:
            list(history.changes(after, upto))
        assert "rows(at=3)" in raised.value.remedy
    before = pl.concat(history.changes(0, 2)).filter(pl.col(COMMIT) == 2).sort("v")
    assert before.select(CHANGE, "v", "name").rows() == [
        ("update_preimage", 1, "n"),
        ("update_postimage", 3, "n"),
    ]
    after_it = pl.concat(history.changes(3, 4)).sort(CHANGE)
    assert after_it.select(CHANGE, "v", "items").rows() == [
        ("update_postimage", "four", [4]),
        ("update_preimage", "three", [3]),
    ]
    assert sorted(history.rows(2).select(KEY, "v", "name").collect().rows()) == [
        ("a", 3, "n"),
        ("b", 2, None),
    ]
    assert history.rows(3).select(KEY, "v", "items").collect().rows() == [("a", "three", [3])]


def test_a_rebuild_is_remembered_when_the_versions_around_it_are_forgotten(catalog: SqlCatalog) -> None:
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG, remembered=3)
    history = IcebergHistory(lambda: catalog, NAME)
    rows = frame([row(0, 0, "a", v=1)])
    table.replace(table.open(STREAM), [rows], rows.schema, {0: 1}, {})
    for n in range(1, 12):
        add(table, [row(0, n, f"k{n}", v=n)], {0: Range(n, n + 1)})
    known = [commit.version for commit in history.commits(-1, 12) if commit.version]
    assert known[0] == 1
    assert known[1] > 3
    assert history.rows(1).collect()[KEY].to_list() == ["a"]
    with pytest.raises(Forgotten, match="rebuilt in version 1"):
        list(history.changes(0, 12))
