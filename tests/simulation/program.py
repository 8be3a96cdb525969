"""One seed → one program: a history, several replicators, their faults, and the check at the end.

Everything that is random comes from the seed, so a seed that fails once fails always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_none

from cdc_platform.core.columns import DEAD_LETTERS
from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.model import Kind, Limits, Receipt, Records, Stopped
from cdc_platform.core.offsets import plan
from cdc_platform.core.ports import LakeTable, LogReader
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica, append_changes, merge_changes, replicate
from cdc_platform.replicate.appending import Carried
from cdc_platform.replicate.inbox import joined
from tests.simulation.faults import Fault, Faults, FaultyLog, FaultyTable, Killed, Planned
from tests.simulation.world import TOPIC, World, check

REPLICATORS = 3
CALLS = 45
"""Calls of ports in a program of usual length, for each replicator."""

Tables = Callable[[Kind], LakeTable]
Merge = Callable[[Replica], Receipt | None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a program is made of; negative controls exchange a part for one without its guard.

    ``tables`` gives the two tables that all replicators share. ``seen_by`` wraps one for a replicator.
    """

    tables: Tables = lambda kind: MemoryTable(f"memory://{kind}")
    seen_by: Callable[[LakeTable], LakeTable] = lambda table: table
    merge: Merge = merge_changes


def _now() -> datetime:
    return datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class Replicator:
    """One process after another: it dies, and a new one begins from the tables."""

    world: World
    replica: Replica
    log: FaultyLog
    merge: Merge
    rng: Random
    reader: LogReader | None = None
    carried: Carried | None = None
    receipts: list[Receipt] = field(default_factory=list)

    def step(self) -> None:
        """Append a batch, merge a chunk, or do all there is to do."""
        try:
            match self.rng.choices(("append", "merge", "all"), (6, 3, 1))[0]:
                case "append":
                    self._append()
                case "merge":
                    self._take(self.merge(self.replica))
                case _:
                    for receipt in replicate(self.replica, self.log):
                        self._take(receipt)
        except (Transient, Killed):
            self.reader = self.carried = None
        except Terminal as error:
            raise AssertionError(f"no fault here is one that a table stops for: {error}") from error

    def _append(self, most: int = 9) -> None:
        stream = self.replica.stream
        if self.reader is None:
            starts = self.replica.changelog.open(stream).offsets
            plan(stream, starts, self.log.available([stream])[TOPIC])
            self.reader = self.log.reader({stream: starts})
        polls = [self.reader.poll(0, self.rng.randint(1, most)) for _ in range(self.rng.randint(1, 2))]
        batches = [self._readable(each) for found in polls for each in found]
        for batch in [joined(batches)] if batches and self.rng.random() < 0.5 else batches:
            appended = append_changes(self.replica, batch, self.carried)
            self.carried = appended.carried
            self._take(appended.receipt)

    @staticmethod
    def _readable(read: Records | Stopped) -> Records:
        assert isinstance(read, Records), "the log can be read"
        return read

    def _take(self, receipt: Receipt | None) -> None:
        if receipt is None:
            return
        assert receipt.rows_in == sum(receipt.applied.values()) + receipt.superseded
        assert receipt.superseded >= 0
        assert all(receipt.ranges.values()), "a commit moves every partition it names"
        self.receipts.append(receipt)

    def settle(self) -> None:
        """Work without faults until there is nothing left to do."""
        self.reader = None
        for _ in range(200):
            before = self._standing()
            try:
                self._append(most=1_000)
                while self.merge(self.replica):
                    assert self._standing() != before, "a merge moves the table's offsets"
                    before = self._standing()
            except CdcError as error:
                raise AssertionError(f"after all faults are over: {error}") from error
            if all(offsets == self.world.ends for offsets in self._standing()):
                return
        raise AssertionError("replication comes to an end")

    def _standing(self) -> list[dict[int, int]]:
        replica = self.replica
        tables = (replica.changelog, replica.current)
        return [{p: o for p, o in t.open(replica.stream).offsets.items() if o} for t in tables]


def run(seed: int, parts: Parts | None = None) -> list[Faults]:
    """Play one program; gives what happened to each replicator. AssertionError: an invariant broke."""
    rng = Random(seed)
    world = World(rng)
    parts = parts or Parts()
    tables = {kind: parts.tables(kind) for kind in Kind}
    replicators: list[Replicator] = []
    faults = [Faults(_plan(rng), partial(_rival, rng, replicators, number)) for number in range(REPLICATORS)]
    replicators.extend(_replicator(world, tables, parts, rng, each) for each in faults)
    for _ in range(rng.randint(2, 5)):
        world.happen(rng.randint(1, 6))
        for _ in range(rng.randint(1, 3)):
            rng.choice(replicators).step()
    calm = _replicator(world, tables, parts, rng, Faults({}, lambda: None))
    calm.settle()
    check(world, tables[Kind.CHANGELOG], tables[Kind.CURRENT])
    return faults


def _plan(rng: Random) -> dict[int, Planned]:
    calls = rng.sample(range(1, CALLS), rng.randint(2, 10))
    return {call: Planned(rng.choice(list(Fault)), rng.random() < 0.5) for call in calls}


def _rival(rng: Random, replicators: list[Replicator], number: int) -> None:
    """Another one goes ahead. It may be held up in its turn, by those after it: nobody waits in a circle."""
    for _ in range(rng.randint(1, 3)):
        if number + 1 < len(replicators):
            rng.choice(replicators[number + 1 :]).step()


def _replicator(
    world: World, tables: dict[Kind, LakeTable], parts: Parts, rng: Random, faults: Faults
) -> Replicator:
    changelog, current = (FaultyTable(parts.seen_by(tables[kind]), faults) for kind in Kind)
    replica = Replica(
        name="orders",
        stream=world.stream,
        changelog=changelog,
        current=current,
        letters=MemoryTable("memory://deadletters", DEAD_LETTERS),
        now=_now,
        limits=Limits(current_rows=rng.choice((3, 7, 1_000))),
        retrying=Retrying(
            stop=stop_after_attempt(10),
            wait=wait_none(),
            retry=retry_if_exception_type(Transient),
            reraise=True,
        ),
    )
    return Replicator(world, replica, FaultyLog(world.log, faults), parts.merge, rng)
