"""A table that is written for long remembers so much of its past, and a commit costs no more than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table.refs import SnapshotRef
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.history import IcebergHistory
from cdc_platform.lake.iceberg.past import forgotten
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import expire, remove_orphans
from cdc_platform.verify.stretch import gapless
from tests.lake.contract import add, apply
from tests.lake.rows import STREAM, fitted, row

NAME = ("shop", "orders")
REMEMBERED = 5


@pytest.fixture(params=["catalog", "rest_catalog"])
def any_catalog(request: pytest.FixtureRequest) -> Catalog:
    catalog = request.getfixturevalue(request.param)
    assert isinstance(catalog, Catalog)
    return catalog


def table_of(catalog: Catalog, kind: Kind) -> IcebergLakeTable:
    return IcebergLakeTable(lambda: catalog, NAME, kind, remembered=REMEMBERED)


@pytest.mark.parametrize("kind", Kind)
def test_old_snapshots_are_forgotten_by_commits_and_nothing_else_is(any_catalog: Catalog, kind: Kind) -> None:
    table = table_of(any_catalog, kind)
    write, most = (add, 0) if kind is Kind.CHANGELOG else (apply, 0)
    for n in range(30):
        write(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
        most = max(most, len(any_catalog.load_table(NAME).metadata.snapshots))
    assert most <= 2 * REMEMBERED + 2, "with the last one of the hour, or two hours"
    handle = table.open(STREAM)
    assert (handle.version, handle.offsets) == (30, {0: 30})
    assert table.read(handle).collect().height == 30
    history = IcebergHistory(lambda: any_catalog, NAME)
    first, *_ = gapless(history.commits(0, 30))
    assert history.rows(first.version).collect().height == first.version
    assert sum(batch.height for batch in history.changes(first.version, 30)) == 30 - first.version
    assert 30 - first.version >= REMEMBERED - 1


def test_of_what_is_older_the_last_snapshot_of_each_hour_stays() -> None:
    hours = [snapshot(n, hour=n // 10) for n in range(100)]
    old = forgotten(Snapshots(hours), remembered=20)  # type: ignore[arg-type]
    assert set(range(100)) - set(old) == {9, 19, 29, 39, 49, 59, 69, 79, *range(80, 100)}


def snapshot(number: int, hour: int) -> Snapshot:
    return Snapshot(
        snapshot_id=number,
        sequence_number=number,
        timestamp_ms=hour * 3_600_000 + number,
        manifest_list="nowhere",
    )


@dataclass
class Snapshots:
    """Of a table's metadata what it takes to decide."""

    snapshots: Sequence[Snapshot]
    refs: Mapping[str, SnapshotRef] = field(default_factory=dict)


def test_a_writer_that_was_overtaken_forgets_nothing(catalog: Catalog) -> None:
    table = table_of(catalog, Kind.CHANGELOG)
    for n in range(2 * REMEMBERED + 2):
        add(table, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
    stale = table.open(STREAM)
    n = 2 * REMEMBERED + 2
    add(table, [row(0, n, "winner")], {0: Range(n, n + 1)})
    left = [each.snapshot_id for each in catalog.load_table(NAME).metadata.snapshots]
    with pytest.raises(Conflict):
        table.append(stale, fitted(stale, [row(0, n, "loser")]), {0: Range(n, n + 1)}, {})
    assert [each.snapshot_id for each in catalog.load_table(NAME).metadata.snapshots] == left


def test_files_of_what_was_forgotten_go_with_the_clean_up_and_no_row_with_them(catalog: Catalog) -> None:
    table = table_of(catalog, Kind.CURRENT)
    for n in range(30):
        apply(table, [row(0, n, "same key")], {0: Range(n, n + 1)})
    later = datetime.now(UTC) + timedelta(hours=1)
    expire(catalog, NAME, later)
    assert remove_orphans(catalog, NAME, later) > 20
    assert table.read(table.open(STREAM)).collect().height == 1
