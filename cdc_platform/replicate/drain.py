"""Replicate many tables at once until caught up, idle or out of time.

One reader for all topics, and per table and format two workers: one appends to the changelog about every
second, one merges into the current state at a slower pace. The caller's thread only takes outcomes; it may be
interrupted at any time, and a worker is never interrupted inside a commit.

Invariants
- A table's failure stops the workers of that table and format alone; its outcome is a Failure, the others go
  on. One that takes long to open, or cannot keep up with the same table in another format, is not waited for,
  either: it is read for by itself.
- A table that cannot keep up, or is held back, is paused at the reader and holds no other table back.
- ``stop()`` loses nothing: what was read is committed or will be read again.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from threading import Event, Thread
from types import TracebackType

from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.model import Format, Kind, Receipt, Target
from cdc_platform.core.ports import Log
from cdc_platform.replicate.appending import Carried, append_changes
from cdc_platform.replicate.feed import Feed, Pulse, Until
from cdc_platform.replicate.grouping import groups
from cdc_platform.replicate.lane import Lane
from cdc_platform.replicate.merging import merge_changes
from cdc_platform.replicate.replica import Replica

MERGING_SHARE = 0.25
"""At most this share of a table's time is spent merging: a large table merges less often, by itself."""


OPENING = 5.0
"""Seconds after the first table was opened that the others are waited for, to be read for together."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A table whose replication ended before the others'."""

    table: str
    kind: Kind
    error: CdcError
    format: Format = Format.DELTA

    @property
    def target(self) -> Target:
        return Target(self.table, self.format)


Outcome = Receipt | Failure


class _Boarding(Enum):
    """FAILED: a lane could not be opened. LEFT: one is opened once more."""

    FAILED = auto()
    LEFT = auto()


def _nobody(table: str) -> bool:
    del table
    return False


class Drain:
    """A context: leaving it stops the workers after their present commit and waits for them."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        log: Log,
        until: Until,
        clock: Callable[[], float] = time.monotonic,
        held: Callable[[str], bool] = _nobody,
    ) -> None:
        """``held``: whether an operator holds a table back; asked again and again."""
        self._clock = clock
        self._stop = Event()
        self._handing_over = Event()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._lanes = [Lane(replica) for replica in replicas]
        self._boarding: queue.Queue[Lane | _Boarding] = queue.Queue()
        self._pulse = Pulse(clock(), clock())
        self._log, self._until, self._held = log, until, held
        self._threads: list[Thread] = []
        self._fatal: CdcError | None = None

    def __enter__(self) -> Drain:
        reading = []
        for lane in self._lanes:
            name = f"{lane.replica.name} {lane.replica.format}"
            lane.held = self._held(lane.replica.name)
            if Kind.CHANGELOG not in lane.replica.kinds:
                lane.ended.set()
            else:
                reading.append(lane)
                self._threads.append(
                    Thread(target=self._append, args=(lane,), name=f"{name} changelog", daemon=True)
                )
            if Kind.CURRENT in lane.replica.kinds:
                self._threads.append(
                    Thread(target=self._merge, args=(lane,), name=f"{name} current", daemon=True)
                )
        self._threads.append(Thread(target=self._read, args=(reading,), name="reader", daemon=True))
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

    def _read(self, lanes: Sequence[Lane]) -> None:
        """Read for all lanes, in groups, as they are opened, also for those that are opened once more."""
        feeds: list[Thread] = []
        missing, opened, since = len(lanes), list[Lane](), 0.0
        try:
            while not self._handing_over.is_set() and (missing or any(each.is_alive() for each in feeds)):
                with suppress(queue.Empty):
                    match self._boarding.get(timeout=0.05):
                        case Lane() as lane:
                            missing -= 1
                            since = since if opened else self._clock()
                            opened.append(lane)
                        case _Boarding.FAILED:
                            missing -= 1
                        case _Boarding.LEFT:
                            missing += 1
                if opened and (not missing or self._clock() - since > OPENING):
                    feeds += [self._started(group) for group in groups(opened)]
                    opened.clear()
            for feed in feeds:
                feed.join()
        except BaseException as error:
            self._end_with(error)
        finally:
            for lane in lanes:
                if not lane.boarded.is_set():
                    lane.board(None)

    def _started(self, lanes: Mapping[str, list[Lane]]) -> Thread:
        feed = Thread(target=self._feed, args=(lanes,), name="feed", daemon=True)
        feed.start()
        return feed

    def _feed(self, lanes: Mapping[str, list[Lane]]) -> None:
        feed = Feed(
            lanes, self._log, self._until, self._clock, self._pulse, self._stop, self._handing_over,
            self._held, self._fail, self._leave_behind,
        )  # fmt: skip
        try:
            feed.run()
        except BaseException as error:  # a thread that ends in silence would look like a topic without news
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        self._fatal = _named(error)
        self.stop()

    def _leave_behind(self, lane: Lane) -> None:
        """It is opened once more, and then read for by itself."""
        self._boarding.put(_Boarding.LEFT)
        lane.leave()

    def _open(self, lane: Lane) -> None:
        """Its batches follow when others are opened, too."""
        replica = lane.replica
        lane.left.clear()
        try:
            lane.at = replica.retrying(replica.changelog.open, replica.stream).offsets
        except BaseException:
            self._boarding.put(_Boarding.FAILED)
            raise
        self._boarding.put(lane)
        lane.boarded.wait()

    def _append(self, lane: Lane) -> None:
        try:
            self._open(lane)
            self._commit(lane)
            while lane.left.is_set():
                self._open(lane)
                self._commit(lane)
        except BaseException as error:  # a panic of a Rust library is no Exception
            self._fail(lane, Kind.CHANGELOG, _named(error))
            if lane.left.is_set():
                self._boarding.put(_Boarding.FAILED)
        finally:
            lane.end()
            lane.appended.set()

    def _commit(self, lane: Lane) -> None:
        """Everything that comes for the lane."""
        carried: Carried | None = None
        while lane.taker and (batch := lane.taker.take()) is not None:
            appended = append_changes(lane.replica, batch, carried)
            carried = appended.carried
            lane.appended.set()
            if appended.receipt:
                self._outcomes.put(appended.receipt)
            if appended.refused:
                raise appended.refused

    def _merge(self, lane: Lane) -> None:
        # A predecessor may have left the current state behind its changelog: the first look is at once.
        lane.appended.set()
        pause = 0.0
        try:
            while not lane.ended.wait(timeout=pause):
                began = self._clock()
                if lane.appended.is_set() and not lane.held:
                    lane.appended.clear()
                    self._merge_to_changelog(lane)
                spent = self._clock() - began
                pause = max(lane.replica.limits.current_age - spent, spent * (1 / MERGING_SHARE - 1))
            if not self._handing_over.is_set() and not lane.held:
                self._merge_to_changelog(lane)
        except BaseException as error:
            self._fail(lane, Kind.CURRENT, _named(error))

    def _merge_to_changelog(self, lane: Lane) -> None:
        """Up to where the changelog stands by then: what comes meanwhile is merged after the pause."""
        more = True
        while more and (receipt := merge_changes(lane.replica)):
            self._outcomes.put(receipt)
            more = receipt.more and not self._handing_over.is_set()

    def _fail(self, lane: Lane, kind: Kind, error: CdcError) -> None:
        self._outcomes.put(Failure(lane.replica.name, kind, error, lane.replica.format))
        if kind is Kind.CHANGELOG:
            lane.ended.set()


def _named(error: BaseException) -> CdcError:
    """An error without a remedy is a defect of ours; it still stops its own table only."""
    if isinstance(error, CdcError):
        return error
    if isinstance(error, OSError):
        return Transient(
            f"the lake could not be read: {error}",
            remedy="check the disk, or the store and the network; nothing is lost, the next run goes on",
        ).with_traceback(error.__traceback__)
    return Terminal(
        f"{type(error).__name__}: {error}", remedy="this is a defect: please report it with the run's log"
    ).with_traceback(error.__traceback__)
