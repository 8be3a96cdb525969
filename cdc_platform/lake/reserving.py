"""A lake table whose writers let one another go first.

A commit is refused if another one came since its table was opened. So a long one (a replay, a rebuild) beside
a writer of short ones could be refused for ever. Who has lost LOSSES times in a row makes a Reservation: a
commit of no rows, short enough to come through, which refuses what the others have under way. They open the
table anew, see it, and wait until its writer has committed.

Invariants
- A reservation is advice: nobody waits longer than it says, once, and a commit is compared with the table's
  newest version all the same. A writer that was killed costs the others that one wait.
- Where nobody loses nothing is written and nothing waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import local
from typing import Final
from uuid import uuid4

import polars as pl

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream
from cdc_platform.core.ports import LakeTable
from cdc_platform.core.reservation import Reservation

LOSSES: Final = 3
"""Refused commits in a row after which the next one is reserved."""

TRIES: Final = 5
"""How often that is tried at once: it may be refused itself."""

PATIENCE: Final = 3.0
"""A reservation is for so many times as long as the refused attempts took, and SPARE more."""

SPARE: Final = 5.0
"""Seconds: what a writer may wait before it tries again."""

LOOKS: Final = 0.1
"""Seconds between two looks at a table that is reserved for another writer."""


class Reserving:
    """A LakeTable over another one. Threads may share it; each has losses of its own."""

    def __init__(
        self,
        table: LakeTable,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._clock = clock
        self._sleep = sleep
        self._writer = uuid4().hex
        self._waited_for = -1  # the version that made the last one
        self._mine = _Mine()

    @property
    def uri(self) -> str:
        return self._table.uri

    def exists(self) -> bool:
        return self._table.exists()

    def open(self, stream: Stream) -> Handle:
        return self._opened(lambda: self._table.open(stream), stream)

    def adopt(self, stream: Stream) -> Handle:
        return self._opened(lambda: self._table.adopt(stream), stream)

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return self._committed(lambda: self._table.append(handle, rows, advance, info, positions))

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._committed(lambda: self._table.merge(handle, rows, advance, info))

    def replace(
        self,
        handle: Handle,
        rows: Iterable[pl.DataFrame],
        columns: pl.Schema,
        offsets: Offsets,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
        begun: Offsets = NOWHERE,
    ) -> Handle:
        return self._committed(
            lambda: self._table.replace(handle, rows, columns, offsets, info, positions, begun)
        )

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._table.row_bytes(handle, ranges)

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        return self._table.read(handle, ranges)

    def _opened(self, load: Callable[[], Handle], stream: Stream) -> Handle:
        handle = load()
        made, reservation = handle.version, handle.reservation
        if reservation and reservation.writer != self._writer and made != self._waited_for:
            until = self._clock() + reservation.seconds
            while handle.version == made and self._clock() < until:
                self._sleep(LOOKS)
                handle = load()
            self._waited_for = made
        self._mine.stream, self._mine.opened = stream, self._clock()
        return handle

    def _committed(self, commit: Callable[[], Handle]) -> Handle:
        mine = self._mine
        try:
            done = commit()
        except Conflict:
            mine.losses += 1
            mine.longest = max(mine.longest, self._clock() - mine.opened)
            if mine.losses >= LOSSES:
                self._reserve(mine)
            raise
        mine.losses, mine.longest = 0, 0.0
        return done

    def _reserve(self, mine: _Mine) -> None:
        reservation = Reservation(self._writer, PATIENCE * mine.longest + SPARE)
        for _ in range(TRIES):
            with suppress(Conflict):
                handle = self._table.open(mine.stream)
                self._table.append(handle, pl.DataFrame(schema=handle.logical), {}, reservation.info)
                return


class _Mine(local):
    """A thread's own: the stream and time of its last ``open``, its losses since a commit, and the longest
    attempt among them, in seconds."""

    stream: Stream
    opened = 0.0
    losses = 0
    longest = 0.0
