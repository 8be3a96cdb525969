"""Records of one table between the reader and the table's worker, closed into batches.

Invariants
- A batch is the concatenation of what was put, in order: its ranges join up without gap or overlap.
- Held bytes are bounded by the reader, which pauses a topic whose inbox is ``full``.
- A batch is due by rows, by bytes, or by the age of its first row. An advance without rows waits longer: it
  is committed only so that a caught-up table stands at the topic's end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition

import polars as pl

from cdc_platform.core.model import Limits, Records
from cdc_platform.core.offsets import Range

ADVANCE_AGE = 3.0
"""Seconds after which offsets without rows are committed by themselves."""


@dataclass(slots=True)
class Inbox:
    """One producer, one consumer. ``clock``: monotonic seconds."""

    limits: Limits
    clock: Callable[[], float]
    _held: list[Records] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0
    _since: float | None = None
    _advanced_since: float | None = None
    _closed: bool = False
    _changed: Condition = field(default_factory=Condition)

    def put(self, records: Records) -> None:
        with self._changed:
            self._held.append(records)
            self._rows += records.frame.height
            self._bytes += int(records.frame.estimated_size())
            now = self.clock()
            self._advanced_since = self._advanced_since or now
            if records.frame.height:
                self._since = self._since or now
            self._changed.notify()

    def close(self) -> None:
        """No more records come; what is held is due at once."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def full(self) -> bool:
        """Twice a batch is waiting."""
        return self._rows >= 2 * self.limits.batch_rows or self._bytes >= 2 * self.limits.batch_bytes

    def take(self) -> Records | None:
        """The next batch as soon as it is due; None when the inbox is closed and empty."""
        with self._changed:
            while True:
                if self._held and self._due():
                    return self._batch()
                if self._closed and not self._held:
                    return None
                self._changed.wait(timeout=0.05)

    def _due(self) -> bool:
        if self._closed or self._rows >= self.limits.batch_rows or self._bytes >= self.limits.batch_bytes:
            return True
        now = self.clock()
        return (self._since is not None and now - self._since >= self.limits.changelog_age) or (
            self._advanced_since is not None and now - self._advanced_since >= ADVANCE_AGE
        )

    def _batch(self) -> Records:
        """As much of what is held as fits one batch, at least one element."""
        taken: list[Records] = []
        rows = size = 0
        for records in self._held:
            rows += records.frame.height
            size += int(records.frame.estimated_size())
            if taken and (rows > self.limits.batch_rows or size > self.limits.batch_bytes):
                rows -= records.frame.height
                size -= int(records.frame.estimated_size())
                break
            taken.append(records)
        del self._held[: len(taken)]
        self._rows -= rows
        self._bytes -= size
        now = self.clock()
        self._since = now if self._rows else None
        self._advanced_since = now if self._held else None
        return joined(taken)


def joined(batches: list[Records]) -> Records:
    """Consecutive batches of one stream as one."""
    ranges: dict[int, Range] = {}
    for batch in batches:
        for partition, covered in batch.ranges.items():
            start = ranges[partition].start if partition in ranges else covered.start
            ranges[partition] = Range(start, covered.end)
    return Records(batches[0].stream, pl.concat([batch.frame for batch in batches], rechunk=True), ranges)
