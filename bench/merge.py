"""50,000 changes into a current table of a million rows: the platform's merge, and Delta's with its defaults.

python -m bench.merge prepare|ours|script FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from bench.events import changelog_rows
from bench.measure import tell, timed
from cdc_platform.core import columns
from cdc_platform.core.model import Kind, Limits
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.platform import utc_now
from cdc_platform.replicate import Replica, merge_changes

ROWS = 1_000_000
UPDATES, INSERTS, DELETES = 40_000, 7_500, 2_500
CHANGES = UPDATES + INSERTS + DELETES
STREAM = Stream("bench", "bench.bench.orders", "bench-1", 1)


def replica(folder: Path) -> Replica:
    return Replica(
        name="orders",
        stream=STREAM,
        changelog=DeltaLakeTable(folder / "orders_changes", Kind.CHANGELOG),
        current=DeltaLakeTable(folder / "orders", Kind.CURRENT),
        letters=DeltaLakeTable(folder / "orders_deadletters", "dead_letters"),
        now=utc_now,
        limits=Limits(current_rows=ROWS, current_bytes=2**32),
    )


def prepare(folder: Path) -> int:
    """A million rows in both tables, and 50,000 changes of keys from all over that only the changelog has."""
    table = replica(folder)
    keys = pl.int_range(0, ROWS, eager=True)
    handle = table.changelog.open(STREAM)
    rows = changelog_rows(keys, pl.repeat("r", ROWS, eager=True), 0)
    table.changelog.append(handle, rows, {0: Range(0, ROWS)}, {})
    while merge_changes(table):
        pass
    changed = keys.sample(UPDATES + DELETES, seed=7, shuffle=True)
    new = pl.int_range(ROWS, ROWS + INSERTS, eager=True)
    operations = pl.Series(["u"] * UPDATES + ["d"] * DELETES + ["c"] * INSERTS)
    rows = changelog_rows(pl.concat([changed, new]), operations, ROWS)
    handle = table.changelog.open(STREAM)
    table.changelog.append(handle, rows, {0: Range(ROWS, ROWS + CHANGES)}, {})
    return CHANGES


def ours(folder: Path) -> int:
    receipt = merge_changes(replica(folder))
    assert receipt is not None
    return receipt.rows_in


def script(folder: Path) -> int:
    """The same changes, read by offset, merged with the library's defaults."""
    changes = DeltaLakeTable(folder / "orders_changes", Kind.CHANGELOG).rows()
    rows = changes.filter(pl.col(columns.OFFSET) >= ROWS).collect()
    (
        DeltaTable(str(folder / "orders"))
        .merge(rows, f"t.{columns.KEY} = s.{columns.KEY}", source_alias="s", target_alias="t")
        .when_matched_delete(f"s.{columns.OPERATION} = 'd'")
        .when_matched_update_all(f"s.{columns.OPERATION} <> 'd'")
        .when_not_matched_insert_all(f"s.{columns.OPERATION} <> 'd'")
        .execute()
    )
    return rows.height


if __name__ == "__main__":
    variant, folder = sys.argv[1:]
    work = {"prepare": prepare, "ours": ours, "script": script}[variant]
    tell(timed(lambda: work(Path(folder))))
