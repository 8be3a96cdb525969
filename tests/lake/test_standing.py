"""Where a Delta table stands is in its newest commit of ours; else deltalake says it, from all commits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from cdc_platform.core.logical import stored
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.transactions import STANDING
from tests.lake.contract import add
from tests.lake.rows import STREAM, fitted, row


@pytest.fixture
def table(tmp_path: Path) -> DeltaLakeTable:
    return DeltaLakeTable(tmp_path / "orders", Kind.CHANGELOG)


def filled(table: DeltaLakeTable) -> Handle:
    """Three partitions that moved in commits of their own."""
    handle = table.open(STREAM)
    for partition, end in ((0, 5), (1, 7), (2, 2), (1, 9)):
        rows = fitted(handle, [row(partition, end - 1, f"k{partition} {end}")])
        handle = table.append(handle, rows, {partition: Range(0, end)}, {}, {partition: end * 10})
    return handle


def test_every_commit_carries_all_offsets_and_positions(table: DeltaLakeTable) -> None:
    handle = filled(table)
    found = table.open(STREAM)
    assert found.offsets == handle.offsets == {0: 5, 1: 9, 2: 2}
    assert found.positions == handle.positions == {0: 50, 1: 90, 2: 20}
    log = DeltaTable(table.uri)
    assert {p: log.transaction_version(STREAM.app_id(p)) for p in range(3)} == found.offsets
    assert {p: log.transaction_version(STREAM.position_id(p)) for p in range(3)} == found.positions
    names = sorted((Path(table.uri) / "_delta_log").glob("*.json"))
    newest = names[-1].read_text()
    assert all(f'"{STREAM.app_id(p)}"' in newest for p in range(3))


def test_commits_that_carry_nothing_are_looked_past(table: DeltaLakeTable) -> None:
    filled(table)
    log = DeltaTable(table.uri)
    log.optimize.compact()
    log.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    found = table.open(STREAM)
    assert (found.offsets, found.positions) == ({0: 5, 1: 9, 2: 2}, {0: 50, 1: 90, 2: 20})
    assert found.version > 4


def test_a_table_whose_commits_do_not_say_so_is_read_as_a_whole(table: DeltaLakeTable) -> None:
    """As those written before."""
    handle = table.open(STREAM)
    log = DeltaTable(table.uri)
    for partition, end in ((0, 3), (2, 4)):
        rows = stored(fitted(handle, [row(partition, end - 1, f"k{partition}")]))
        given = [
            Transaction(STREAM.app_id(partition), end),
            Transaction(STREAM.position_id(partition), end * 10),
        ]
        write_deltalake(log, rows, mode="append", commit_properties=CommitProperties(app_transactions=given))
    found = table.open(STREAM)
    assert (found.offsets, found.positions) == ({0: 3, 2: 4}, {0: 30, 2: 40})
    made = add(table, [row(1, 0, "k")], {1: Range(0, 1)})
    assert made.offsets == table.open(STREAM).offsets == {0: 3, 1: 1, 2: 4}


def test_where_the_log_was_cleaned_the_checkpoint_says_it(table: DeltaLakeTable) -> None:
    filled(table)
    log = DeltaTable(table.uri)
    log.create_checkpoint()
    for name in (Path(table.uri) / "_delta_log").glob("*.json"):
        name.unlink()
    assert table.open(STREAM).offsets == {0: 5, 1: 9, 2: 2}


def test_what_a_commit_carries_of_another_topic_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    """Names are compared whole: one topic's may begin with the other's."""
    table = DeltaLakeTable(tmp_path / "orders", Kind.CHANGELOG)
    filled(table)
    log = DeltaTable(table.uri)
    other = replace(STREAM, topic_id=f"{STREAM.topic_id}/1")
    write_deltalake(
        log,
        stored(fitted(table.open(STREAM), [row(0, 8, "x")])),
        mode="append",
        commit_properties=CommitProperties(
            app_transactions=[Transaction(other.app_id(0), 99)],
            custom_metadata={STANDING: other.identity},
        ),
    )
    assert table.open(STREAM).offsets == {0: 5, 1: 9, 2: 2}
