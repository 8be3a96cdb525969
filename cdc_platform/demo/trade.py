"""What the demo needs of each database: rows to begin with, and people who change them.

Invariant: ``done`` counts what the changelog is to hold: an operation that was rolled back, or that met no
row, is not in it, and a primary key that changes is a deletion and an insertion.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Generic, Protocol, TypeVar

BURST = 200
"""Most changes at once: writers that fell behind do not make up for it in one go."""

INSERTED, UPDATED, DELETED = "inserted", "updated", "deleted"

Row = TypeVar("Row")


class Trade(Protocol):
    """A database with rows that people change. One thread at a time."""

    def load(self, rows: int, progress: Callable[[int], None]) -> None:
        """Insert about that many rows, in batches; ``progress`` is told how many each was."""
        ...

    def change(self, rate: int, seconds: float, stop: Event, done: Counter[str]) -> None:
        """About ``rate`` changes per second for that long, counted by operation in ``done``."""
        ...


def keep_pace(
    rate: int, seconds: float, stop: Event, done: Counter[str], tick: float, write: Callable[[int], None]
) -> None:
    """Have the changes written that are due, every ``tick`` seconds. ``write`` counts them in ``done``."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds and not stop.is_set():
        due = min(BURST, int(passed * rate) - done.total())
        if due > 0:
            write(due)
        stop.wait(tick)


class Pool(Generic[Row]):
    """Rows that exist, one of which can be chosen; all of it in constant time."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._places: dict[Row, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        if row not in self._places:
            self._places[row] = len(self._rows)
            self._rows.append(row)

    def drop(self, row: Row) -> None:
        """Nothing happens to a row that is not there."""
        if (place := self._places.pop(row, None)) is None:
            return
        last = self._rows.pop()
        if last != row:
            self._rows[place] = last
            self._places[last] = place

    def any(self, rng: random.Random) -> Row:
        return self._rows[rng.randrange(len(self._rows))]
