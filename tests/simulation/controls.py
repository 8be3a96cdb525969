"""Parts of a program that lack one guard each: the checks must notice.

Tables are wrapped, or steps exchanged for what one would write at first. Nothing of the platform is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl

from cdc_platform.core import schema
from cdc_platform.core.columns import DELETE, KEY, OFFSET, OPERATION, PARTITION, RESENT
from cdc_platform.core.model import Handle, Receipt
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Range, Ranges, Stream
from cdc_platform.core.ports import LakeTable, Log
from cdc_platform.decode.fold import fold
from cdc_platform.decode.mongodb import decode
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica
from cdc_platform.replicate.appending import stamped
from tests.lake.through import Through
from tests.simulation.replicator import Parts, in_memory

Tables = dict[str, LakeTable]


class RebasedTable(MemoryTable):
    """Without the guard of the handle: a commit goes on top of whatever is newest."""

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return super().append(self._newest(handle), rows, advance, info, positions)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return super().merge(self._newest(handle), rows, advance, info)

    def _newest(self, handle: Handle) -> Handle:
        return replace(handle, token=self.versions[-1])


class RememberingTable(Through):
    """Without the table's own offsets: the process goes by what it remembers from its own commits."""

    _remembered: Offsets | None = None

    def open(self, stream: Stream) -> Handle:
        handle = self._table.open(stream)
        if self._remembered is None:
            self._remembered = handle.offsets
        return replace(handle, offsets=self._remembered)

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return self._remember(super().append(handle, rows, advance, info, positions))

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._remember(super().merge(handle, rows, advance, info))

    def _remember(self, made: Handle) -> Handle:
        self._remembered = made.offsets
        return made


class NoEmptyCommitTable(MemoryTable):
    """Without the empty commit: a merge that changes no row commits nothing, as Delta's own merge does.

    Whoever merges until nothing is left to do would do so for ever; here it is noticed."""

    merged_for_nothing = 0

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        known = self.read(handle).select(KEY).collect()
        touched = rows.filter((pl.col(OPERATION) != DELETE) | pl.col(KEY).is_in(known[KEY].implode()))
        if touched.height:
            return super().merge(handle, rows, advance, info)
        self.merged_for_nothing += 1
        assert self.merged_for_nothing < 100, "a merge moves the table's offsets"
        return handle


class LaterLetters(Through):
    """Holds new letters back until the changelog has its commit: ``written`` then writes them."""

    def __init__(self, table: LakeTable) -> None:
        super().__init__(table)
        self._waiting: list[Callable[[], Handle]] = []

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        if rows["revision"].max():
            return super().append(handle, rows, advance, info, positions)
        self._waiting.append(lambda: self._table.append(handle, rows, advance, info, positions))
        return handle

    def written(self) -> None:
        while self._waiting:
            self._waiting.pop()()


class FirstChangelog(Through):
    """A changelog whose commit comes before its letters."""

    def __init__(self, table: LakeTable, letters: LaterLetters) -> None:
        super().__init__(table)
        self._letters = letters

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        made = super().append(handle, rows, advance, info, positions)
        self._letters.written()
        return made


class ForgetfulLetters(Through):
    """Without the look at which letters are there already."""

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        rows = super().read(handle, ranges)
        return rows if ranges is None else rows.clear()


class EverWide(Through):
    """Without the table's memory of how many partitions its topic had when it was made."""

    def open(self, stream: Stream) -> Handle:
        return replace(self._table.open(stream), partitions=1_000)


class Forgetful(Through):
    """Without the mark on events that were sent again."""

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        rows = rows.with_columns(pl.lit(value=False).alias(RESENT))
        return super().append(handle, rows, advance, info, positions)


def unmarked(tables: Tables) -> Tables:
    return {**tables, "changelog": Forgetful(tables["changelog"])}


def letters_last(tables: Tables) -> Tables:
    letters = LaterLetters(tables["letters"])
    return {**tables, "letters": letters, "changelog": FirstChangelog(tables["changelog"], letters)}


def letters_forgotten(tables: Tables) -> Tables:
    return {**tables, "letters": ForgetfulLetters(tables["letters"])}


def folded_by_offset(tables: Tables) -> Tables:
    return {name: table if name == "letters" else EverWide(table) for name, table in tables.items()}


def merge_without_fold(replica: Replica) -> Receipt | None:
    """Without the fold: all changes of a key go into one merge."""
    source, target = replica.changelog.open(replica.stream), replica.current.open(replica.stream)
    ranges = {
        p: Range(target.offsets.get(p, 0), end)
        for p, end in source.offsets.items()
        if end > target.offsets.get(p, 0)
    }
    if ranges:
        rows = replica.changelog.read(source, ranges).collect()
        info = {"cdc.ranges": "", "cdc.rows": '{"in":0,"applied":{},"dead":0}'}
        replica.current.merge(target, schema.fit(rows, target.schema, where=""), ranges, info)
    return None


def replay_merging(replica: Replica, log: Log, ranges: Ranges) -> None:
    """Without looking up each key's last row: what is read again is merged, as if it were new."""
    reader = log.reader({replica.stream: {p: wanted.start for p, wanted in ranges.items()}})
    for records in reader.poll(0, 1_000):
        changelog = replica.changelog.open(replica.stream)
        rows = decode(records, changelog.logical, replica.rules).frame.filter(
            pl.any_horizontal(
                (pl.col(PARTITION) == p) & pl.col(OFFSET).is_between(r.start, r.end - 1)
                for p, r in ranges.items()
            )
        )
        known = replica.changelog.read(changelog, ranges).select(PARTITION, OFFSET).collect()
        rows = stamped(rows.with_columns(pl.lit(value=False).alias(RESENT)), replica.now())
        missing = rows.join(known, on=[PARTITION, OFFSET], how="anti")
        if missing.height:
            replica.changelog.append(changelog, schema.fit(missing, changelog.logical, where=""), {}, {})
        current = replica.current.open(replica.stream)
        replica.current.merge(current, schema.fit(fold(rows).rows, current.logical, where=""), {}, {})


CONTROLS: Mapping[str, tuple[Parts, str]] = {
    "stale handles": (
        Parts(tables=lambda name: RebasedTable(name) if name != "letters" else in_memory(name)),
        "once|join up|beyond its offsets|goes back|below its offsets",
    ),
    "remembered offsets": (
        Parts(
            seen_by=lambda tables: {
                name: table if name == "letters" else RememberingTable(table)
                for name, table in tables.items()
            }
        ),
        "once|join up|table stops|beyond",
    ),
    "no fold": (Parts(merge=merge_without_fold), "one row a key|went into one merge"),
    "no empty commit": (
        Parts(tables=lambda name: NoEmptyCommitTable(name) if name == "current" else in_memory(name)),
        "a merge moves the table's offsets",
    ),
    "letters after offsets": (
        Parts(seen_by=letters_last),
        "a letter is kept before the offsets pass it|an event is a row or an open letter",
    ),
    "letters kept again": (Parts(seen_by=letters_forgotten), "a letter is kept once"),
    "replay that merges": (
        Parts(replay=replay_merging),
        "the current state goes back|the last row of|the current table is",
    ),
    "resends unmarked": (
        Parts(seen_by=unmarked),
        "the current state goes back|what was sent again is marked",
    ),
    "fold by offset after growth": (
        Parts(seen_by=folded_by_offset),
        "the current state goes back|the last row of|the current table is",
    ),
}
"""What is missing → the program's parts without it, and what must be noticed."""
