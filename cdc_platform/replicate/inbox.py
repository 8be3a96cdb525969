"""Records of one topic between the reader and the workers of its lake tables, closed into batches.

Invariants
- A batch is the concatenation of what was put, in order: its ranges join up without gap or overlap.
- Every taker gets everything that is put while it takes part. Takers that keep up get the same batches, so
  that what they have in common is done once; one that is slower gets several as one.
- What waits for a taker is bounded by the reader, which pauses a topic while one of them is ``full``.
- A batch is due by rows, by bytes, or by the age of its first row. An advance without rows waits longer: it
  is committed only so that a caught-up table stands at the topic's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Condition

from cdc_platform.core.model import Limits, Records
from cdc_platform.replicate.batch import Batch, joined

ADVANCE_AGE = 3.0
"""Seconds after which offsets without rows are committed by themselves."""


@dataclass(slots=True)
class _Held:
    """Records that wait, and how much they are."""

    limits: Limits
    records: list[Records] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def add(self, records: Records) -> None:
        self.records.append(records)
        self.rows += records.frame.height
        self.bytes += int(records.frame.estimated_size())

    def take(self) -> list[Records]:
        """As much as fits one batch, at least one element."""
        taken = _Held(self.limits)
        for each in self.records:
            size = int(each.frame.estimated_size())
            if taken.records and (
                taken.rows + each.frame.height > self.limits.batch_rows
                or taken.bytes + size > self.limits.batch_bytes
            ):
                break
            taken.add(each)
        del self.records[: len(taken.records)]
        self.rows -= taken.rows
        self.bytes -= taken.bytes
        return taken.records

    @property
    def is_a_batch(self) -> bool:
        return self.rows >= self.limits.batch_rows or self.bytes >= self.limits.batch_bytes


class Inbox:
    """One producer, a taker for each table. ``clock``: monotonic seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._open = _Held(limits)
        self._takers: list[Taker] = []
        self._since: float | None = None
        self._advanced_since: float | None = None
        self._closed = False
        self.changed = Condition()

    def taker(self) -> Taker:
        """Asked for before anything is put."""
        self._takers.append(taker := Taker(self, self._limits))
        return taker

    def put(self, records: Records) -> None:
        with self.changed:
            self._open.add(records)
            now = self._clock()
            self._advanced_since = self._advanced_since or now
            if records.frame.height:
                self._since = self._since or now
            self.changed.notify_all()

    def close(self) -> None:
        """No more records come; what is held is due at once."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def take(self, taker: Taker) -> Batch | None:
        """The taker's next batch as soon as it is due; None when the inbox is closed and empty."""
        with self.changed:
            while True:
                if batch := taker.waiting():
                    return batch
                if taker.gone:
                    return None
                if self._due():
                    self._cut(self._takers)
                elif self._closed and not self._open.records:
                    return None
                else:
                    self.changed.wait(timeout=0.05)

    def is_full_for(self, held: Iterable[_Held]) -> bool:
        """Twice a batch is waiting."""
        parts = [self._open, *held]
        rows, size = sum(each.rows for each in parts), sum(each.bytes for each in parts)
        return rows >= 2 * self._limits.batch_rows or size >= 2 * self._limits.batch_bytes

    def _due(self) -> bool:
        if not self._open.records:
            return False
        if self._closed or self._open.is_a_batch:
            return True
        now = self._clock()
        return (self._since is not None and now - self._since >= self._limits.changelog_age) or (
            self._advanced_since is not None and now - self._advanced_since >= ADVANCE_AGE
        )

    def _cut(self, takers: Iterable[Taker]) -> None:
        batch = Batch(joined(self._open.take()))
        for taker in takers:
            taker.hand(batch)
        now = self._clock()
        self._since = now if self._open.rows else None
        self._advanced_since = now if self._open.records else None


class Taker:
    """What one table's worker takes its batches from. Used under the inbox's lock."""

    def __init__(self, inbox: Inbox, limits: Limits) -> None:
        self._inbox = inbox
        self._limits = limits
        self._batches: list[Batch] = []
        self._held = _Held(limits)
        self.gone = False

    def take(self) -> Batch | None:
        """The next batch as soon as it is due; None when no more come."""
        return self._inbox.take(self)

    def leave(self) -> None:
        """Take no more: what waits is dropped, and nothing waits any more."""
        with self._inbox.changed:
            self.gone = True
            self._batches.clear()
            self._held = _Held(self._limits)

    @property
    def full(self) -> bool:
        """Twice a batch is waiting for this taker."""
        with self._inbox.changed:
            return not self.gone and self._inbox.is_full_for([self._held])

    def hand(self, batch: Batch) -> None:
        if not self.gone:
            self._batches.append(batch)
            self._held.add(batch.records)

    def waiting(self) -> Batch | None:
        """What was cut already: one batch as it is, several as one."""
        if not self._batches:
            return None
        taken = self._held.take()
        first, self._batches = self._batches[0], self._batches[len(taken) :]
        return first if len(taken) == 1 else Batch(joined(taken))
