"""Writers with a mistake, for the tests that show that the oracle finds it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import polars as pl

from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import NOWHERE, Positions, Ranges, Stream
from cdc_platform.replicate import Replica
from tests.lake.through import Through


class Reopening(Through):
    """Writes to the newest version instead of the one whose offsets were read."""

    _stream: Stream

    def open(self, stream: Stream) -> Handle:
        self._stream = stream
        return super().open(stream)

    def _base(self, handle: Handle) -> Handle:
        del handle  # its version is the one whose offsets were read
        return self.open(self._stream)


class Losing(Through):
    """Moves the changelog's offsets past a row that it does not write."""

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return super().append(handle, rows.head(-1), advance, info, positions)


class Splitting(Through):
    """Commits the changelog's rows first and their offsets afterwards; is killed in between."""

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        del advance, positions  # would be committed next
        super().append(handle, rows, {}, info)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


FAULTS: Final[Mapping[str, type[Through]]] = {
    "reopening": Reopening,
    "losing": Losing,
    "splitting": Splitting,
}


def with_fault(replica: Replica, fault: str) -> Replica:
    table = FAULTS[fault]
    return replace(replica, changelog=table(replica.changelog), current=table(replica.current))
