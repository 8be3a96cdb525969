"""Ports that fail, die or let somebody else in at chosen calls.

Every call of a port of one replicator is counted. The plan says what happens at the n-th call, and whether
before or after its effect:

- ``ERROR``: a Transient error. After the effect it is a lost answer: the commit is there, the caller is told
  that it failed.
- ``DEATH``: the process dies. Killed unwinds everything; what comes after starts from the tables.
- ``RIVAL``: the caller is held up right here while another writer takes complete steps. It then goes on with
  what it knew, as a process does that was stopped and continued (a zombie), or that runs beside another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

import polars as pl

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Handle, Records, Stopped
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream
from cdc_platform.core.ports import LakeTable, Log, LogReader
from tests.lake.through import Through

T = TypeVar("T")


class Killed(BaseException):
    """The end of a process: nothing may catch it."""


class Fault(Enum):
    ERROR = auto()
    DEATH = auto()
    RIVAL = auto()


@dataclass(frozen=True, slots=True)
class Planned:
    fault: Fault
    after: bool


@dataclass(slots=True)
class Faults:
    """One replicator's plan: the number of a call → what happens at it. ``happened``: at which calls of which
    ports it did."""

    plan: Mapping[int, Planned]
    rival: Callable[[], None]
    calls: int = 0
    happened: list[tuple[str, Planned]] = field(default_factory=list)

    def call(self, name: str, effect: Callable[[], T]) -> T:
        self.calls += 1
        planned = self.plan.get(self.calls)
        if planned is None:
            return effect()
        self.happened.append((name, planned))
        if not planned.after:
            self._strike(planned.fault)
        result = effect()
        if planned.after:
            self._strike(planned.fault)
        return result

    def _strike(self, fault: Fault) -> None:
        match fault:
            case Fault.ERROR:
                raise Transient("the service did not answer", remedy="try again")
            case Fault.DEATH:
                raise Killed
            case Fault.RIVAL:
                self.rival()


class FaultyTable(Through):
    """A lake table behind a plan of faults. ``name``: of the table, in what happened. ``made``: told of every
    version that was committed through here."""

    def __init__(self, name: str, table: LakeTable, faults: Faults, made: Callable[[str, int], None]) -> None:
        self._name = name
        super().__init__(table)
        self._faults = faults
        self._made = made

    def open(self, stream: Stream) -> Handle:
        return self._call("open", lambda: self._table.open(stream))

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return self._call(
            "append", lambda: self._told(self._table.append(handle, rows, advance, info, positions))
        )

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._call("merge", lambda: self._told(self._table.merge(handle, rows, advance, info)))

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._call("row_bytes", lambda: self._table.row_bytes(handle, ranges))

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        return self._call("read", lambda: self._table.read(handle, ranges))

    def _call(self, port: str, effect: Callable[[], T]) -> T:
        return self._faults.call(f"{self._name} {port}", effect)

    def _told(self, made: Handle) -> Handle:
        self._made(self._name, made.version)
        return made


class FaultyLog:
    """A log behind the same plan. Waits for nothing."""

    def __init__(self, log: Log, faults: Faults) -> None:
        self._log = log
        self._faults = faults

    def streams(self, topics: Sequence[str]) -> Mapping[str, Stream]:
        return self._faults.call("log streams", lambda: self._log.streams(topics))

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        return self._faults.call("log available", lambda: self._log.available(streams))

    def ends(self, streams: Sequence[Stream]) -> Mapping[str, Offsets]:
        return self._faults.call("log ends", lambda: self._log.ends(streams))

    def reader(self, starts: Mapping[Stream, Offsets]) -> LogReader:
        return FaultyReader(self._log.reader(starts), self._faults)


class FaultyReader:
    def __init__(self, reader: LogReader, faults: Faults) -> None:
        self._reader = reader
        self._faults = faults

    def poll(self, timeout: float, max_rows: int) -> Sequence[Records | Stopped]:
        del timeout  # nothing is waited for
        return self._faults.call("log poll", lambda: self._reader.poll(0, max_rows))

    def pause(self, topic: str) -> None:
        self._reader.pause(topic)

    def resume(self, topic: str) -> None:
        self._reader.resume(topic)

    def close(self) -> None:
        self._reader.close()
