"""The past of a Delta table: its own numbers, and what is gone is never an empty answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.core.columns import KEY, OFFSET
from cdc_platform.core.errors import Transient
from cdc_platform.core.history import CHANGE, COMMIT, Damaged, Forgotten
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import RANGES, Range, Stream, describe
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.upkeep import compact, vacuum
from tests.lake.rows import frame, row

STREAM = Stream("cluster", "topic", "id", 1)


@pytest.fixture
def table(tmp_path: Path) -> DeltaLakeTable:
    """Created as version 0; version n has the row of offset n - 1."""
    table = DeltaLakeTable(tmp_path / "a table", Kind.CHANGELOG)
    for offset in range(5):
        ranges = {0: Range(offset, offset + 1)}
        info = {RANGES: describe(ranges), "cdc.rows": '{"in": 1, "applied": {"c": 1}}'}
        table.append(table.open(STREAM), frame([row(0, offset, f"k{offset}")]), ranges, info)
    return table


@pytest.fixture
def history(table: DeltaLakeTable) -> DeltaHistory:
    return DeltaHistory(Path(table.uri))


def test_commits_tell_what_they_did_by_their_own_versions(history: DeltaHistory) -> None:
    assert [c.version for c in history.commits(-1, 3)] == [0, 1, 2, 3]
    created, first, second = history.commits(-1, 2)
    assert (created.operation, created.ours, created.ranges, created.applied) == (
        "CREATE TABLE",
        False,
        {},
        None,
    )
    assert (second.operation, second.ours, second.ranges) == ("WRITE", True, {0: Range(1, 2)})
    assert (second.applied, second.written) == (1, 1)
    assert first.committed_at <= second.committed_at


def test_a_version_that_is_gone_is_left_out_and_the_others_keep_their_numbers(
    table: DeltaLakeTable, history: DeltaHistory
) -> None:
    DeltaTable(table.uri).create_checkpoint()
    Path(table.uri, "_delta_log", f"{2:020}.json").unlink()
    assert [(c.version, *c.ranges) for c in history.commits(-1, 5)] == [(0,), (1, 0), (3, 0), (4, 0), (5, 0)]
    with pytest.raises(Forgotten, match="version 2 is not in the log"):
        list(history.changes(0, 5))


def test_changes_are_those_of_the_versions_asked_for(table: DeltaLakeTable, history: DeltaHistory) -> None:
    compact(Path(table.uri))
    found = pl.concat(history.changes(2, 6)).sort(COMMIT)
    assert found.select(COMMIT, CHANGE, KEY).rows() == [
        (3, "insert", "k2"),
        (4, "insert", "k3"),
        (5, "insert", "k4"),
    ]
    assert pl.concat(history.changes(4, 5, columns=[OFFSET])).columns == [OFFSET, CHANGE, COMMIT]


def test_a_feed_whose_files_a_vacuum_removed_is_forgotten(
    table: DeltaLakeTable, history: DeltaHistory
) -> None:
    compact(Path(table.uri))
    vacuum(Path(table.uri), 0)
    with pytest.raises(Forgotten, match="change feed of version 3 is not there any more"):
        list(history.changes(2, 5))


@pytest.mark.parametrize(
    ("place", "told"),
    [(-6, "has no footer"), (-1, "has no footer"), (30, "cannot be read"), (None, "bytes instead of")],
)
def test_a_feed_with_a_damaged_file_is_damaged_and_ends_no_process(
    table: DeltaLakeTable, history: DeltaHistory, place: int | None, told: str
) -> None:
    path = sorted(Path(table.uri).glob("*.parquet"))[0]
    content = bytearray(path.read_bytes())
    if place is None:
        del content[len(content) // 2 :]
    else:
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Damaged, match=told):
        list(history.changes(0, 5))
    (damage,) = history.damaged(5)
    assert path.name in damage


def test_a_missing_data_file_is_named(table: DeltaLakeTable, history: DeltaHistory) -> None:
    assert history.damaged(5) == ()
    path = sorted(Path(table.uri).glob("*.parquet"))[0]
    path.unlink()
    assert history.damaged(5) == (f"data file {path.name} is missing",)


def test_a_table_made_anew_has_another_identity(tmp_path: Path) -> None:
    tables = [DeltaLakeTable(tmp_path / name, Kind.CURRENT) for name in "ab"]
    for table in tables:
        table.open(STREAM)
    first, second = (DeltaHistory(Path(table.uri)) for table in tables)
    assert first.identity() == first.identity() != second.identity()


def test_no_table_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="could not be read"):
        DeltaHistory(tmp_path / "nothing").identity()
