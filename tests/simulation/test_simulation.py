"""Replication under any schedule of faults. The invariants, for every seed:

1. *Once.* When the faults are over and the replicators have caught up, the changelog holds every event that
   the log delivered exactly once, with its key, its operation and its document, and nothing else.
2. *Letters.* What cannot become a row is an open dead letter, exactly one, kept before the offsets pass it;
no
   good event is one. Under the policy quarantine a value that does not fit makes one of its event; under
   refuse the table stops before it, and goes on where it stopped when the policy changes.
3. *The source.* The current table holds the last row of each key. Once every letter is repaired and replayed,
   it is the source: one row for each document there is, none for those deleted.
4. *Standing.* Both tables stand at the topic's ends, past all offsets that hold no record.
5. *At every moment.* Each version of each table holds exactly the rows of the offsets it claims: the
   changelog all of them but the letters, the current table the last one of each key. A reader never sees half
   a commit.
6. *Never back.* From version to version a key's state only moves on in the source's order, and no deleted row
   comes alive: through replays, when a connector sends events again, and when the topic has more partitions
   and keys have moved.
7. *Accounting.* Rows in = rows applied + rows superseded + dead letters, for each commit; the commits' ranges
   join up without gap or overlap, whoever made them; and their rows in add up to what was delivered.
8. *Progress.* A merge moves the table's offsets or says that there is nothing to do. A table that is held is
   neither read nor merged.

What happens to the replicators: errors before a call's effect and after it (a lost answer), death at any
call, and other writers going ahead in the middle of any step (two runs of one batch, a zombie that wakes up).
Some of what they do is an operator's: replays of random ranges under any policy, of some letters, with and
without repaired values, and holds.

``CDC_SIMULATION_SEEDS=10000`` plays more programs; so does ``make soak``. A failing seed is the test's id;
play it again with ``pytest "tests/simulation/test_simulation.py::test_the_invariants_hold[123]"``, and keep
it in ``KEPT``.

The negative controls play the same programs with one guard taken away: the check must notice.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.model import Kind
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from tests.simulation.controls import CONTROLS
from tests.simulation.faults import Fault
from tests.simulation.program import run
from tests.simulation.replicator import TABLES, Parts

SEEDS = int(os.environ.get("CDC_SIMULATION_SEEDS", "500"))
ENOUGH = 500
"""Programs that meet nearly every fault at every port."""
KEPT: dict[int, str] = {}
"""Seeds that failed since the programs are made as they are, and what was wrong."""
PORTS = (
    *(f"{name} open" for name in TABLES),
    *("changelog append", "changelog read", "changelog row_bytes"),
    *("current merge", "letters append", "letters read"),
    *(f"log {port}" for port in ("streams", "available", "ends", "poll")),
)
CONTROL_SEEDS = 60
"""Programs within which each missing guard must be noticed."""


Met = Counter[tuple[str, Fault, bool]]


@pytest.fixture(scope="module")
def met() -> Met:
    """Which faults struck which ports, before and after their effects, in the programs played so far."""
    return Counter()


def played(seed: int, met: Met) -> None:
    for each in run(seed):
        met.update((port, planned.fault, planned.after) for port, planned in each.happened)


@pytest.mark.parametrize("seed", sorted({*range(SEEDS), *KEPT}))
def test_the_invariants_hold(seed: int, met: Met) -> None:
    played(seed, met)


@pytest.mark.skipif(SEEDS < ENOUGH, reason="too few programs: make test plays more")
def test_the_programs_meet_every_fault_at_every_port(met: Met) -> None:
    """Those before; and more of them if they were few."""
    every = {(port, fault, after) for port in PORTS for fault in Fault for after in (False, True)}
    for seed in range(10_000, 10_400):
        if met.keys() >= every:
            return
        played(seed, met)
    assert not every - met.keys()


@pytest.mark.parametrize("seed", range(4))
def test_the_invariants_hold_on_disk(seed: int, tmp_path: Path) -> None:
    def on_disk(name: str) -> DeltaLakeTable:
        return DeltaLakeTable(tmp_path / name, "dead_letters" if name == "letters" else Kind(name))

    run(seed, Parts(tables=on_disk))


@pytest.mark.parametrize("seed", range(4))
def test_the_invariants_hold_in_iceberg(seed: int, tmp_path: Path) -> None:
    catalog = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())

    def in_catalog(name: str) -> IcebergLakeTable:
        kind = "dead_letters" if name == "letters" else Kind(name)
        return IcebergLakeTable(lambda: catalog, ("shop", name), kind)

    run(seed, Parts(tables=in_catalog))
    catalog.close()


@pytest.mark.parametrize("missing", CONTROLS)
def test_without_its_guard_an_invariant_breaks(missing: str) -> None:
    parts, broken = CONTROLS[missing]
    with pytest.raises(AssertionError, match=broken):
        _play(parts)


def _play(parts: Parts) -> None:
    for seed in range(CONTROL_SEEDS):
        run(seed, parts)
