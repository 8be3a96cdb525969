"""How fast a source is read: no faster than its declaration allows.

Invariant: over any stretch of reading the rows stay below the rate, but for one batch of each reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass(slots=True)
class Pace:
    """``rows_per_second``: None for as fast as it goes. Shared by the readers of a source."""

    rows_per_second: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _due: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def take(self, rows: int) -> None:
        """Wait until the rows that were taken before have had their time."""
        if self.rows_per_second is None:
            return
        with self._lock:
            now = self.clock()
            wait = max(0.0, self._due - now)
            self._due = now + wait + rows / self.rows_per_second
        if wait:
            self.sleep(wait)
