"""Replication under any schedule of faults. The invariants, for every seed:

1. *Once.* When the faults are over and the replicators have caught up, the changelog holds every event that
   the log delivered exactly once, with its key, its operation and its document, and nothing else.
2. *The source.* The current table is the source: one row for each document there is, none for those deleted.
3. *Standing.* Both tables stand at the topic's ends, past all offsets that hold no record.
4. *At every moment.* Each version of each table holds exactly the rows of the offsets it claims: the
   changelog all of them, the current table the last one of each key. A reader never sees half a commit.
5. *Accounting.* Rows in = rows applied + rows superseded, for each commit; the commits' ranges join up
   without gap or overlap, whoever made them; and their rows in add up to what was delivered.
6. *Progress.* A merge moves the table's offsets or says that there is nothing to do.

What happens to the replicators: errors before a call's effect and after it (a lost answer), death at any
call, and other writers going ahead in the middle of any step (two runs of one batch, a zombie that wakes up).

``CDC_SIMULATION_SEEDS=10000`` plays more programs. A failing seed is the test's id; play it again with
``pytest "tests/simulation/test_simulation.py::test_the_invariants_hold[123]"``.

The negative controls play the same programs with one guard taken away: the check must notice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cdc_platform.core import schema
from cdc_platform.core.columns import DELETE, KEY, OPERATION
from cdc_platform.core.model import Handle, Kind, Receipt
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.delta import DeltaLakeTable
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica
from tests.simulation.faults import Fault
from tests.simulation.program import Parts, run

SEEDS = int(os.environ.get("CDC_SIMULATION_SEEDS", "500"))
CONTROL_SEEDS = 60
"""Programs within which each missing guard must be noticed."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_invariants_hold(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", range(4))
def test_the_invariants_hold_on_disk(seed: int, tmp_path: Path) -> None:
    run(seed, Parts(tables=lambda kind: DeltaLakeTable(tmp_path / kind, kind)))


def test_the_programs_meet_every_fault_at_every_port() -> None:
    met = Counter(
        (happened.split()[2].rstrip(":"), fault.name, "after=True" in happened)
        for seed in range(80)
        for each in run(seed)
        for happened in each.happened
        for fault in Fault
        if fault.name in happened
    )
    missing = [
        (port, fault.name, after)
        for port in ("open", "append", "merge", "row_bytes", "read", "poll", "available")
        for fault in Fault
        for after in (False, True)
        if not met[port, fault.name, after]
    ]
    assert not missing


class RebasedTable(MemoryTable):
    """Without the guard of the handle: a commit goes on top of whatever is newest."""

    def append(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return super().append(self._newest(handle), rows, advance, info)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return super().merge(self._newest(handle), rows, advance, info)

    def _newest(self, handle: Handle) -> Handle:
        return replace(handle, token=self.versions[-1])


class RememberingTable:
    """Without the table's own offsets: the process goes by what it remembers from its own commits."""

    def __init__(self, table: LakeTable) -> None:
        self._table = table
        self._remembered: Offsets | None = None

    @property
    def uri(self) -> str:
        return self._table.uri

    def exists(self) -> bool:
        return self._table.exists()

    def open(self, stream: Stream) -> Handle:
        handle = self._table.open(stream)
        if self._remembered is None:
            self._remembered = handle.offsets
        return replace(handle, offsets=self._remembered)

    def append(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._remember(self._table.append(handle, rows, advance, info))

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._remember(self._table.merge(handle, rows, advance, info))

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._table.row_bytes(handle, ranges)

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        return self._table.read(handle, ranges)

    def _remember(self, made: Handle) -> Handle:
        self._remembered = made.offsets
        return made


class NoEmptyCommitTable(MemoryTable):
    """Without the empty commit: a merge that changes no row commits nothing, as Delta's own merge does.

    Whoever merges until nothing is left to do would do so for ever; here it is noticed."""

    merged_for_nothing = 0

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        known = self.read(handle).select(KEY).collect()
        touched = rows.filter((pl.col(OPERATION) != DELETE) | pl.col(KEY).is_in(known[KEY].implode()))
        if touched.height:
            return super().merge(handle, rows, advance, info)
        self.merged_for_nothing += 1
        assert self.merged_for_nothing < 100, "a merge moves the table's offsets"
        return handle


def merge_without_fold(replica: Replica) -> Receipt | None:
    """Without the fold: all changes of a key go into one merge."""
    source, target = replica.changelog.open(replica.stream), replica.current.open(replica.stream)
    ranges = {
        p: Range(target.offsets.get(p, 0), end)
        for p, end in source.offsets.items()
        if end > target.offsets.get(p, 0)
    }
    if ranges:
        rows = replica.changelog.read(source, ranges).collect()
        info = {"cdc.ranges": "", "cdc.rows": '{"in":0,"applied":{}}'}
        replica.current.merge(target, schema.fit(rows, target.schema, where=""), ranges, info)
    return None


@pytest.mark.parametrize(
    ("parts", "broken"),
    [
        (Parts(tables=lambda kind: RebasedTable(f"memory://{kind}")), "delivered event|join up|every event"),
        (Parts(seen_by=RememberingTable), "delivered event|join up|table stops"),
        (Parts(merge=merge_without_fold), "one row a key"),
        (
            Parts(
                tables=lambda kind: (NoEmptyCommitTable if kind is Kind.CURRENT else MemoryTable)(str(kind))
            ),
            "a merge moves the table's offsets",
        ),
    ],
    ids=["stale handles", "remembered offsets", "no fold", "no empty commit"],
)
def test_without_its_guard_an_invariant_breaks(parts: Parts, broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        _campaign(parts)


def _campaign(parts: Parts) -> None:
    for seed in range(CONTROL_SEEDS):
        run(seed, parts)
