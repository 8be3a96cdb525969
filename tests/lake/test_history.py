"""The past of a Delta table: its own numbers, and what is gone is never an empty answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.core.columns import KEY, OFFSET
from cdc_platform.core.errors import Transient
from cdc_platform.core.history import CHANGE, COMMIT, REBUILT, Damaged, Forgotten
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import RANGES, Range, Stream, describe
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.replacing import APPEND_ONLY
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


def rebuilt(table: DeltaLakeTable) -> Handle:
    """The last two rows alone, with a text and a list in place of a number."""
    handle = table.open(STREAM)
    rows = frame([row(0, n, f"k{n}", v=str(n), items=[n]) for n in (3, 4)])
    return table.replace(handle, [rows], rows.schema, {0: 5}, {REBUILT: "a new snapshot"})


def test_changes_do_not_reach_over_a_rebuild_and_rows_of_either_side_have_their_columns(
    tmp_path: Path,
) -> None:
    table = DeltaLakeTable(tmp_path / "t", Kind.CHANGELOG)
    history = DeltaHistory(tmp_path / "t")
    for offset in range(5):
        rows = frame([row(0, offset, f"k{offset}", v=offset, name="n")])
        table.append(table.open(STREAM), rows, {0: Range(offset, offset + 1)}, {})
    made = rebuilt(table)
    rows = frame([row(0, 5, "k5", v="5", items=[5], late=True)])
    last = table.append(made, rows, {0: Range(5, 6)}, {}).version
    lifted, version, put_back = range(6, 9)
    assert [(c.version, c.rebuilt) for c in history.commits(5, last)] == [
        (lifted, False),
        (version, True),
        (put_back, False),
        (last, False),
    ]
    assert all(commit.ours for commit in history.commits(5, last - 1))
    for after, upto in ((0, last), (5, version), (lifted, last)):
        with pytest.raises(Forgotten, match="rebuilt in version 7") as raised:
            list(history.changes(after, upto))
        assert "rows(at=7)" in raised.value.remedy
    before = pl.concat(history.changes(2, lifted)).sort(OFFSET)
    assert before.select(CHANGE, "v", "name").rows() == [("insert", n, "n") for n in (2, 3, 4)]
    after_it = pl.concat(history.changes(version, last))
    assert after_it.select(CHANGE, "v", "items", "late").rows() == [("insert", "5", [5], True)]
    assert history.rows(lifted).sort(OFFSET).collect()["v"].to_list() == [0, 1, 2, 3, 4]
    assert history.rows(version).sort(OFFSET).collect().select("v", "items").rows() == [
        ("3", [3]),
        ("4", [4]),
    ]


@pytest.mark.parametrize("then", ["append", "rebuild"])
def test_a_writer_killed_before_it_rebuilt_leaves_a_table_that_is_only_appended_to_again(
    table: DeltaLakeTable, then: str
) -> None:
    DeltaTable(table.uri).alter.set_table_properties({APPEND_ONLY: "false"})
    handle = table.open(STREAM)
    assert (handle.offsets, table.read(handle).collect().height) == ({0: 5}, 5)
    if then == "append":
        table.append(handle, frame([row(0, 5, "k5")]), {0: Range(5, 6)}, {})
    else:
        rebuilt(table)
    assert DeltaTable(table.uri).metadata().configuration[APPEND_ONLY] == "true"
    with pytest.raises(Exception, match="append-only"):
        DeltaTable(table.uri).delete()
    expected = ({0: 6}, 6) if then == "append" else ({0: 5}, 2)
    handle = table.open(STREAM)
    assert (handle.offsets, table.read(handle).collect().height) == expected


def test_files_of_a_rebuild_that_was_killed_go_with_the_clean_up(table: DeltaLakeTable) -> None:
    rows = frame([row(0, 0, "a", v="x")])

    def frames() -> Iterator[pl.DataFrame]:
        yield rows
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.replace(table.open(STREAM), frames(), rows.schema, {0: 1}, {})
    left = list(Path(table.uri).glob("rebuilt-*/*.parquet"))
    assert len(left) == 1
    assert vacuum(Path(table.uri), 0) == 1
    assert not list(Path(table.uri).glob("rebuilt-*/*.parquet"))
    rebuilt(table)
    compact(Path(table.uri))
    vacuum(Path(table.uri), 0)
    assert table.rows().collect().height == 2


def test_offsets_that_a_rebuild_gave_up_stay_so_when_only_the_identifiers_tell(table: DeltaLakeTable) -> None:
    handle = table.open(STREAM)
    table.append(handle, frame([row(1, 0, "b")]), {1: Range(0, 7)}, {}, {0: 3, 1: 4})
    handle = table.open(STREAM)
    rows = frame([row(0, 0, "a")])
    table.replace(handle, [rows], rows.schema, {0: 2}, {}, {0: 1})
    for n in range(6):
        DeltaTable(table.uri).alter.set_table_properties(
            {"delta.logRetentionDuration": f"interval {n + 30} days"}
        )
    handle = table.open(STREAM)
    assert (handle.offsets, handle.positions) == ({0: 2}, {0: 1})
