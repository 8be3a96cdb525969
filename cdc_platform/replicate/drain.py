"""Replicate many tables at once until caught up, idle or out of time.

One reader for all topics, and per table two workers: one appends to the changelog about every second, one
merges into the current state at a slower pace. The caller's thread only takes outcomes; it may be interrupted
at any time, and a worker is never interrupted inside a commit.

Invariants
- A table's failure stops that table's workers alone; its outcome is a Failure, the others go on.
- A table that cannot keep up is paused at the reader and holds no other table back.
- ``stop()`` loses nothing: what was read is committed or will be read again.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType

from cdc_platform.core.errors import CdcError, Terminal
from cdc_platform.core.model import Kind, Receipt, Stopped
from cdc_platform.core.offsets import Offsets, ends_of, plan, reached
from cdc_platform.core.ports import Log
from cdc_platform.replicate.inbox import Inbox
from cdc_platform.replicate.steps import Carried, Replica, append_changes, merge_changes

POLL_SECONDS = 0.05
POLL_ROWS = 20_000
MERGING_SHARE = 0.25
"""At most this share of a table's time is spent merging: a large table merges less often, by itself."""


@dataclass(frozen=True, slots=True)
class Until:
    """When to end: at the ends the topics had at the start (``caught_up``), or after so many seconds without
    a record (``idle``), or in all (``seconds``).

    Out of time, the drain goes on for up to ``grace`` more seconds until ``relieved`` says that a successor
    is there to take over.
    """

    caught_up: bool = False
    idle: float = float("inf")
    seconds: float = float("inf")
    grace: float = 0.0
    relieved: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Failure:
    """A table whose replication ended before the others'."""

    table: str
    kind: Kind
    error: CdcError


Outcome = Receipt | Failure


@dataclass(slots=True)
class _Lane:
    """One table on its way: its inbox and its two workers."""

    replica: Replica
    inbox: Inbox
    appended: Event
    ended: Event
    paused: bool = False


class Drain:
    """A context: leaving it stops the workers after their present commit and waits for them."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        log: Log,
        until: Until,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._until = until
        self._clock = clock
        self._stop = Event()
        self._handing_over = Event()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._lanes = {r.stream.topic: _Lane(r, Inbox(r.limits, clock), Event(), Event()) for r in replicas}
        self._threads: list[Thread] = []
        self._fatal: CdcError | None = None

    def __enter__(self) -> Drain:
        for lane in self._lanes.values():
            name = lane.replica.name
            if Kind.CHANGELOG not in lane.replica.kinds:
                lane.ended.set()
            else:
                self._threads.append(
                    Thread(target=self._append, args=(lane,), name=f"{name} changelog", daemon=True)
                )
            if Kind.CURRENT in lane.replica.kinds:
                self._threads.append(
                    Thread(target=self._merge, args=(lane,), name=f"{name} current", daemon=True)
                )
        self._threads.append(Thread(target=self._read, name="reader", daemon=True))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """End soon: commit to the changelogs what was read, leave the rest for the next run."""
        self._handing_over.set()
        self._stop.set()

    def take(self, timeout: float) -> Outcome | None:
        """The next outcome, or None after ``timeout`` seconds. Raises what ended the reader."""
        try:
            return self._outcomes.get(timeout=timeout)
        except queue.Empty:
            fatal, self._fatal = self._fatal, None
            if fatal:
                raise fatal from None
            return None

    @property
    def running(self) -> bool:
        """False when every worker has ended and everything there was to take was taken."""
        alive = any(thread.is_alive() for thread in self._threads)
        return alive or self._fatal is not None or not self._outcomes.empty()

    def _read(self) -> None:
        try:
            self._feed(self._starts())
        except BaseException as error:  # a thread that ends in silence would look like a topic without news
            self._fatal = _named(error)
            self._handing_over.set()
        finally:
            for lane in self._lanes.values():
                lane.inbox.close()

    def _starts(self) -> Mapping[str, tuple[Offsets, Offsets]]:
        """Per topic where its changelog stands and where the topic ends; a table that cannot go on is left
        out.
        """
        lanes = {topic: lane for topic, lane in self._lanes.items() if not lane.ended.is_set()}
        # The tables first: another writer may move one past ends that were read before it was opened.
        committed = {topic: at for topic, lane in lanes.items() if (at := self._committed(lane)) is not None}
        available = self._log.available([lanes[topic].replica.stream for topic in committed])
        starts = {}
        for topic, at in committed.items():
            try:
                starts[topic] = (at, ends_of(plan(lanes[topic].replica.stream, at, available[topic])))
            except CdcError as error:
                self._fail(lanes[topic], Kind.CHANGELOG, error)
        return starts

    def _committed(self, lane: _Lane) -> Offsets | None:
        try:
            return lane.replica.changelog.open(lane.replica.stream).offsets
        except CdcError as error:
            self._fail(lane, Kind.CHANGELOG, error)
            return None

    def _feed(self, starts: Mapping[str, tuple[Offsets, Offsets]]) -> None:
        positions = {topic: dict(committed) for topic, (committed, _) in starts.items()}
        goals = {topic: ends for topic, (_, ends) in starts.items()}
        if not goals:
            return
        reader = self._log.reader({self._lanes[t].replica.stream: p for t, p in positions.items()})
        most = min(POLL_ROWS, *(self._lanes[t].replica.limits.batch_rows for t in goals))
        began = heard = self._clock()
        try:
            while not self._over(began, heard, positions, goals):
                for read in reader.poll(POLL_SECONDS, most):
                    lane = self._lanes[read.topic if isinstance(read, Stopped) else read.stream.topic]
                    if isinstance(read, Stopped):
                        self._fail(lane, Kind.CHANGELOG, read.error)
                        continue
                    positions[read.stream.topic] |= ends_of(read.ranges)
                    if read.frame.height:
                        heard = self._clock()
                    if not lane.ended.is_set():
                        lane.inbox.put(read)
                for topic in positions:
                    self._throttle(reader.pause, reader.resume, topic)
        finally:
            reader.close()

    def _throttle(self, pause: Callable[[str], None], resume: Callable[[str], None], topic: str) -> None:
        lane = self._lanes[topic]
        if wanted := (lane.inbox.full or lane.ended.is_set()):
            if not lane.paused:
                pause(topic)
        elif lane.paused:
            resume(topic)
        lane.paused = wanted

    def _over(
        self, began: float, heard: float, positions: Mapping[str, Offsets], goals: Mapping[str, Offsets]
    ) -> bool:
        now = self._clock()
        overtime = now - began - self._until.seconds
        if overtime > 0 and (overtime > self._until.grace or self._until.relieved()):
            self._handing_over.set()
            return True
        if self._until.caught_up:
            open_topics = [t for t in goals if not self._lanes[t].ended.is_set()]
            if all(reached(positions[t], goals[t]) for t in open_topics):
                return True
        return self._stop.is_set() or now - heard > self._until.idle or self._all_ended()

    def _all_ended(self) -> bool:
        return all(lane.ended.is_set() for lane in self._lanes.values())

    def _append(self, lane: _Lane) -> None:
        carried: Carried | None = None
        try:
            while (records := lane.inbox.take()) is not None:
                appended = append_changes(lane.replica, records, carried)
                carried = appended.carried
                lane.appended.set()
                if appended.receipt:
                    self._outcomes.put(appended.receipt)
                if appended.refused:
                    raise appended.refused
        except BaseException as error:  # a panic of a Rust library is no Exception
            self._fail(lane, Kind.CHANGELOG, _named(error))
        finally:
            lane.ended.set()
            lane.appended.set()

    def _merge(self, lane: _Lane) -> None:
        # A predecessor may have left the current state behind its changelog: the first look is at once.
        lane.appended.set()
        pause = 0.0
        try:
            while not lane.ended.wait(timeout=pause):
                began = self._clock()
                if lane.appended.is_set():
                    lane.appended.clear()
                    self._merge_to_changelog(lane)
                spent = self._clock() - began
                pause = max(lane.replica.limits.current_age - spent, spent * (1 / MERGING_SHARE - 1))
            if not self._handing_over.is_set():
                self._merge_to_changelog(lane)
        except BaseException as error:
            self._fail(lane, Kind.CURRENT, _named(error))

    def _merge_to_changelog(self, lane: _Lane) -> None:
        while receipt := merge_changes(lane.replica):
            self._outcomes.put(receipt)
            if self._handing_over.is_set():
                return

    def _fail(self, lane: _Lane, kind: Kind, error: CdcError) -> None:
        self._outcomes.put(Failure(lane.replica.name, kind, error))
        if kind is Kind.CHANGELOG:
            lane.ended.set()
            lane.inbox.close()


def _named(error: BaseException) -> CdcError:
    """An error without a remedy is a defect of ours; it still stops its own table only."""
    if isinstance(error, CdcError):
        return error
    return Terminal(
        f"{type(error).__name__}: {error}", remedy="this is a defect: please report it with the run's log"
    ).with_traceback(error.__traceback__)
