"""Replicate many tables at once until caught up, idle or out of time.

One reader for all topics, and per table two workers: one appends to the changelog about every second, one
merges into the current state at a slower pace. The caller's thread only takes outcomes; it may be interrupted
at any time, and a worker is never interrupted inside a commit.

Invariants
- A table's failure stops that table's workers alone; its outcome is a Failure, the others go on.
- A table that cannot keep up, or is held back, is paused at the reader and holds no other table back.
- ``stop()`` loses nothing: what was read is committed or will be read again.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType

from cdc_platform.core.errors import CdcError, Terminal
from cdc_platform.core.model import Kind, Receipt
from cdc_platform.core.ports import Log
from cdc_platform.replicate.appending import Carried, append_changes
from cdc_platform.replicate.feed import Feed, Until
from cdc_platform.replicate.inbox import Inbox
from cdc_platform.replicate.lane import Lane
from cdc_platform.replicate.merging import merge_changes
from cdc_platform.replicate.replica import Replica

MERGING_SHARE = 0.25
"""At most this share of a table's time is spent merging: a large table merges less often, by itself."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A table whose replication ended before the others'."""

    table: str
    kind: Kind
    error: CdcError


Outcome = Receipt | Failure


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
        self._lanes = {r.stream.topic: Lane(r, Inbox(r.limits, clock)) for r in replicas}
        self._feed = Feed(self._lanes, log, until, clock, self._stop, self._handing_over, held, self._fail)
        self._threads: list[Thread] = []
        self._fatal: CdcError | None = None

    def __enter__(self) -> Drain:
        self._feed.look_at_holds()
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
            self._feed.run()
        except BaseException as error:  # a thread that ends in silence would look like a topic without news
            self._fatal = _named(error)
            self._handing_over.set()
        finally:
            for lane in self._lanes.values():
                lane.inbox.close()

    def _append(self, lane: Lane) -> None:
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
        while receipt := merge_changes(lane.replica):
            self._outcomes.put(receipt)
            if self._handing_over.is_set():
                return

    def _fail(self, lane: Lane, kind: Kind, error: CdcError) -> None:
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
