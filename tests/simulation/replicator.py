"""One process after another that works on the tables: it dies, and a new one begins from them.

What it does beside the ordinary steps is an operator's: hold the table back, replay offsets, replay letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from threading import Event
from typing import Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_none

from cdc_platform.core.columns import DEAD_LETTERS, DISCARDED
from cdc_platform.core.errors import CdcError, EventRefused, SchemaRefused, Terminal, Transient
from cdc_platform.core.model import Kind, Limits, Policy, Receipt, Records, Stopped
from cdc_platform.core.offsets import Range, Ranges, plan
from cdc_platform.core.ports import LakeTable, Log, LogReader
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Batch, Replica, Until, append_changes, merge_changes, replicate
from cdc_platform.replicate.appending import Carried
from cdc_platform.replicate.batch import joined
from cdc_platform.replicate.feed import Feed, Pulse
from cdc_platform.replicate.lane import Lane
from cdc_platform.replicate.letters import Letter, read_letters, settle_letters
from cdc_platform.replicate.replay import replay, replay_letters
from tests.simulation.faults import Faults, FaultyLog, FaultyTable, Killed
from tests.simulation.history import LARGEST
from tests.simulation.world import TOPIC, Place, World

TABLES: Final = ("changelog", "current", "letters")
STEPS: Final = {"append": 6, "merge": 4, "all": 1, "drain": 3}
OPERATED: Final = {"replay": 1, "letters": 2}
"""What processes do, and what operators do, and how often."""


def in_memory(name: str) -> LakeTable:
    return MemoryTable(f"memory://{name}", *([DEAD_LETTERS] if name == "letters" else []))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a program is made of; negative controls exchange a part for one without its guard.

    ``tables`` gives the tables that all replicators share, by their names. ``seen_by`` wraps a replicator's
    view of all of them.
    """

    tables: Callable[[str], LakeTable] = in_memory
    seen_by: Callable[[dict[str, LakeTable]], dict[str, LakeTable]] = lambda tables: tables
    merge: Callable[[Replica], Receipt | None] = merge_changes
    replay: Callable[[Replica, Log, Ranges], object] = replay


@dataclass(slots=True)
class Shared:
    """What all replicators of a program have in common.

    ``made``: every version that anybody committed, in order. ``interrupted``: replays that ended before their
    end, for the operator to do again. ``repaired``: places of letters that were replayed with a value.
    """

    world: World
    parts: Parts
    rng: Random
    tables: dict[str, LakeTable]
    made: list[tuple[str, int]] = field(default_factory=list)
    interrupted: list[Callable[[Replicator], None]] = field(default_factory=list)

    def committed(self, name: str, version: int) -> None:
        self.made.append((name, version))


@dataclass(slots=True)
class Replicator:
    """``values``: None for the world's own policy."""

    shared: Shared
    faults: Faults
    values: Policy | None = None
    reader: LogReader | None = None
    carried: Carried | None = None
    _replica: Replica | None = None

    @property
    def replica(self) -> Replica:
        """The process's own view: it knows the topic as it was when the process began."""
        if self._replica is None:
            self._replica = self._begun()
        return self._replica

    @property
    def log(self) -> FaultyLog:
        return FaultyLog(self.shared.world.log, self.faults)

    def _begun(self) -> Replica:
        shared = self.shared
        faulty = {
            name: FaultyTable(name, table, self.faults, shared.committed)
            for name, table in shared.tables.items()
        }
        return Replica(
            name="orders",
            stream=self.log.streams([TOPIC])[TOPIC],
            **shared.parts.seen_by({**faulty}),
            now=_now,
            limits=Limits(
                batch_rows=shared.rng.choice((4, 50, 1_000)),
                current_rows=shared.rng.choice((3, 7, 1_000)),
                record_bytes=LARGEST,
            ),
            values=self.values or shared.world.traits.values,
            retrying=Retrying(
                stop=stop_after_attempt(10),
                wait=wait_none(),
                retry=retry_if_exception_type(Transient),
                reraise=True,
            ),
        )

    def step(self, operated: float = 0.25) -> None:
        """One thing that a process does: append a batch, merge a chunk, or all there is; or a replay.

        ``operated``: how likely it is an operator's.
        """
        rng = self.shared.rng
        steps = OPERATED if rng.random() < operated else STEPS
        try:
            match rng.choices(list(steps), list(steps.values()))[0]:
                case "append":
                    self._append()
                case "merge":
                    self._take(self.shared.parts.merge(self.replica))
                case "all":
                    for receipt in replicate(self.replica, self.log):
                        self._take(receipt)
                case "drain":
                    self._drain()
                case "replay":
                    self._replay_some()
                case _:
                    self._replay_letters()
        except (Transient, Killed):
            self.die()
        except (EventRefused, SchemaRefused) as error:
            self._expected(error)
            self.die()
        except Terminal as error:
            raise AssertionError(f"no fault here is one that a table stops for: {error}") from error
        if rng.random() < 0.1:
            self.die()

    def _expected(self, error: Terminal) -> None:
        assert self.replica.values is Policy.REFUSE, f"nothing is refused here: {error}"

    def die(self) -> None:
        self.reader = self.carried = self._replica = None

    def _append(self, most: int = 9) -> None:
        stream, rng = self.replica.stream, self.shared.rng
        if self.reader is None:
            starts = self.replica.changelog.open(stream).offsets
            plan(stream, starts, self.log.available([stream])[TOPIC])
            self.reader = self.log.reader({stream: starts})
        polls = [self.reader.poll(0, rng.randint(1, most)) for _ in range(rng.randint(1, 2))]
        batches = [self._readable(each) for found in polls for each in found]
        for batch in [joined(batches)] if batches and rng.random() < 0.5 else batches:
            self._append_batch(Batch(batch))

    def _append_batch(self, batch: Batch) -> None:
        appended = append_changes(self.replica, batch, self.carried)
        self.carried = appended.carried
        self._take(appended.receipt)
        if appended.refused:
            raise appended.refused

    @staticmethod
    def _readable(read: Records | Stopped) -> Records:
        assert isinstance(read, Records), "the log can be read"
        return read

    def _take(self, receipt: Receipt | None) -> None:
        if receipt is None:
            return
        applied = sum(receipt.applied.values())
        assert receipt.rows_in == applied + receipt.superseded + receipt.dead, "rows in are accounted for"
        assert receipt.superseded >= 0
        assert receipt.dead >= 0
        assert all(receipt.ranges.values()), "a commit moves every partition it names"

    def _drain(self) -> None:
        """As ``Drain`` does it, in one thread: the reader to its end, then the batches, then the merges."""
        world, rng = self.shared.world, self.shared.rng
        time, failures = [0.0], list[CdcError]()

        def clock() -> float:
            time[0] += rng.choice((0.01, 0.3, 40))
            return time[0]

        def fail(lane: Lane, kind: Kind, error: CdcError) -> None:
            failures.append(error)
            lane.ended.set()

        def held(table: str) -> bool:
            return world.held or rng.random() < 0.2

        lane = Lane(self.replica)
        until = Until(caught_up=True)
        try:
            lane.at = self.replica.retrying(self.replica.changelog.open, self.replica.stream).offsets
            pulse = Pulse(0.0, 0.0)
            Feed(
                {TOPIC: [lane]}, self.log, until, clock, pulse, Event(), Event(), held, fail, Lane.leave
            ).run()
        except Transient as error:
            failures.append(error)
        while lane.taker and (batch := lane.taker.take()) is not None:
            assert not world.held, "a table that is held is not read"
            self._append_batch(batch)
        while not lane.held and (receipt := self.shared.parts.merge(self.replica)):
            self._take(receipt)
        if failures:
            raise failures[0]

    def _replay_some(self) -> None:
        rng = self.shared.rng
        committed = self.replica.changelog.open(self.replica.stream).offsets
        ranges = {}
        for partition in [p for p, end in committed.items() if end and p < self.replica.stream.partitions]:
            start = rng.randrange(committed[partition])
            ranges[partition] = Range(start, rng.randint(start + 1, committed[partition]))
            if rng.random() < 0.5:
                break
        values = rng.choice(list(Policy))
        if ranges:
            self._finishing(lambda each: each.replay(ranges, values))

    def _replay_letters(self) -> None:
        rng = self.shared.rng
        letters = [e for e in read_letters(self.replica.letters, self.replica.stream) if rng.random() < 0.5]
        values = {at: true for at, true in self._repairs(letters).items() if rng.random() < 0.7}
        self._finishing(lambda each: each.replay_letters(letters, values))

    def _repairs(self, letters: list[Letter]) -> dict[Place, bytes]:
        true = {each.place: each.true for each in self.shared.world.delivered if each.poison}
        places = [(letter.partition, letter.offset) for letter in letters]
        return {place: value for place in places if (value := true.get(place)) is not None}

    def _finishing(self, replaying: Callable[[Replicator], None]) -> None:
        try:
            replaying(self)
        except (Transient, Killed):
            self.shared.interrupted.append(replaying)
            raise

    def replay(self, ranges: Ranges, values: Policy) -> None:
        self.shared.parts.replay(replace(self.replica, values=values), self.log, ranges)

    def replay_letters(self, letters: list[Letter], values: dict[Place, bytes]) -> None:
        if letters:
            replay_letters(self.replica, letters, values)

    def repair_everything(self) -> None:
        """Settle every open letter: with the value that it should have had, or, if there is none, away."""
        replica = replace(self.replica, values=Policy.JSON)
        letters = read_letters(replica.letters, replica.stream)
        junk = {each.place for each in self.shared.world.delivered if each.true is None}
        lost = [letter for letter in letters if (letter.partition, letter.offset) in junk]
        rest = [letter for letter in letters if letter not in lost]
        settle_letters(replica.letters, replica.stream, lost, DISCARDED, "never a change", _now())
        if rest:
            done = replay_letters(replica, rest, self._repairs(rest))
            assert not done.dead, "a repaired letter becomes a row"

    def settle(self) -> bool:
        """Work without faults until there is nothing left to do; False if the policy stops the table."""
        self.die()
        for _ in range(200):
            stopped = False
            try:
                self._append(most=1_000)
            except (EventRefused, SchemaRefused) as error:
                self._expected(error)
                stopped = True
            except CdcError as error:
                raise AssertionError(f"after all faults are over: {error}") from error
            self._merge_all()
            if stopped or all(offsets == self.shared.world.ends for offsets in self.standing()):
                return not stopped
        raise AssertionError("replication comes to an end")

    def _merge_all(self) -> None:
        before = self.standing()
        try:
            while self.shared.parts.merge(self.replica):
                assert self.standing() != before, "a merge moves the table's offsets"
                before = self.standing()
        except CdcError as error:
            raise AssertionError(f"after all faults are over: {error}") from error

    def standing(self) -> list[dict[int, int]]:
        replica = self.replica
        tables = (replica.changelog, replica.current)
        return [{p: o for p, o in t.open(replica.stream).offsets.items() if o} for t in tables]


def _now() -> datetime:
    return datetime(2026, 11, 1, 12, tzinfo=UTC)
