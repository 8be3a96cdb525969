"""A table of the lake for its readers: the current state, the changelog, and the past of both.

Invariants
- Reading creates nothing, writes nothing and needs neither Kafka nor the source.
- Every frame stands at one version of its table, whatever is written until it is collected. The files of that
  version stay as long as the source declares (``retention.files_hours``) after another one has followed it.
- What is no longer there is an error that says so, never a frame with fewer rows.

Values are as they are stored, and as any other engine reads them: an ObjectId is its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.core.columns import METADATA, OFFSET, OPERATION, PARTITION, UTC_MICROS
from cdc_platform.core.errors import Terminal
from cdc_platform.core.history import CHANGE, COMMIT, History
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, describe, ends_of, lag, next_ranges
from cdc_platform.core.ports import StoredTable
from cdc_platform.decode.fold import once
from cdc_platform.reading.moments import version_at
from cdc_platform.reading.tail import State, state

Moment = int | datetime
"""A version, or a time: then it is the newest version that was committed until then."""

_VERSIONS: Final = pl.Schema(
    {
        "version": pl.Int64(),
        "committed_at": UTC_MICROS,
        "operation": pl.String(),
        "ours": pl.Boolean(),
        "offsets": pl.String(),
        "applied": pl.Int64(),
        "written": pl.Int64(),
    }
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows as versions changed them. ``upto``: the last of these versions, to go on after."""

    rows: pl.DataFrame
    upto: int


@dataclass(frozen=True, slots=True)
class Stored:
    """One lake table and its past."""

    table: StoredTable
    history: History

    @property
    def uri(self) -> str:
        return self.table.uri

    def version(self) -> int:
        """The newest version."""
        return self._newest().version

    def offsets(self) -> dict[int, int]:
        """Where it stands: per partition of its topic, one past the last offset that is in it."""
        return dict(sorted(self._newest().offsets.items()))

    def rows(self, at: Moment | None = None, *, metadata: bool = True) -> pl.LazyFrame:
        """All rows: of the newest version, or of another one, which had the columns of its time.

        ``metadata``: with the platform's own columns (``core.columns.METADATA``). Raises Terminal for a
        version that is not there yet, or a time before the first one; Forgotten for one that is gone.
        """
        rows = self.table.read(self._newest()) if at is None else self.history.rows(self._version(at))
        return rows if metadata else _plain(rows)

    def changes(self, after: Moment, upto: Moment | None = None, *, metadata: bool = True) -> Changes:
        """What the versions past ``after`` up to ``upto``, or the newest, changed: each row as it was and as
        it became.

        With ``_change_type``, one of insert, update_preimage, update_postimage and delete, and
        ``_commit_version``, in the order of versions. The rows are held in memory: ask for fewer versions at
        a time if they changed much. Raises as ``rows``; and Forgotten if the table was rebuilt in one of
        these versions: take the rows of that version, and go on from there.
        """
        newest = self._newest()
        first, last = self._version(after), newest.version if upto is None else self._version(upto)
        if first > last:
            raise Terminal(
                f"version {first} does not come before version {last}",
                where=self.uri,
                remedy="give the earlier one first",
            )
        none = pl.DataFrame(schema={**newest.schema, CHANGE: pl.String(), COMMIT: pl.Int64()})
        found = list(self.history.changes(first, last)) if first < last else []
        rows = pl.concat(found).sort(COMMIT, maintain_order=True) if found else none
        names = [name for name in METADATA if name in rows.columns] if metadata else []
        fields = [name for name in rows.columns if name not in METADATA and name not in _OF_CHANGES]
        return Changes(rows.select(CHANGE, COMMIT, *names, *fields), last)

    def versions(self, last: int | None = None) -> pl.DataFrame:
        """Its versions, oldest first, or the ``last`` so many of them, as far as the table remembers.

        committed_at; operation, in the format's own word; ours: written by replication or a replay; offsets
        that it covers; applied: rows that replication wrote; written: rows by the engine's count. Null where
        nothing is said.
        """
        newest = self._newest().version
        commits = self.history.commits(-1 if last is None else newest - last, newest)
        rows = [
            (c.version, c.committed_at, c.operation, c.ours, describe(c.ranges), c.applied, c.written)
            for c in commits
        ]
        return pl.DataFrame(rows, schema=_VERSIONS, orient="row")

    def _newest(self) -> Handle:
        if not self.table.exists():
            raise Terminal(
                "there is no such table yet",
                where=self.uri,
                remedy="it is made by the first run that reads its topic (cdc run); if it was, check "
                "CDC_LAKE_ROOT and the catalog's settings",
            )
        return self.table.snapshot()[0]

    def _version(self, at: Moment) -> int:
        newest = self._newest().version
        if isinstance(at, datetime):
            return version_at(self.history, newest, at)
        if not 0 <= at <= newest:
            raise Terminal(
                f"there is no version {at}: the newest one is {newest}",
                where=self.uri,
                remedy="versions() lists those there are",
            )
        return at


_OF_CHANGES: Final = (CHANGE, COMMIT, "_commit_timestamp")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of the changelog, each partition's in the order of its offsets.

    ``offsets``: to go on from, once the rows are dealt with. ``behind``: offsets that are committed past
    them; an upper bound of the rows, as not every offset has one.
    """

    rows: pl.LazyFrame
    offsets: Mapping[int, int]
    behind: int


@dataclass(frozen=True, slots=True)
class Changelog(Stored):
    """The lake table with a row for each change."""

    def since(self, after: Offsets, *, limit: int | None = None, metadata: bool = True) -> Batch:
        """The rows past these offsets, up to what is committed, or to ``limit`` offsets further.

        ``after``: per partition the next offset to read, as a batch before told it; a partition that is
        missing begins at 0, so ``{}`` is from the beginning. ``metadata``: without it only ``_cdc_operation``
        is left, and changes that were sent again are left out. Raises Terminal for offsets that are not
        committed yet, or never will be.

        A row that an operator puts in later, at offsets that were read already (``cdc replay``, a dead
        letter that was repaired), is not among them; ``changes`` has it, with the version that brought it.
        """
        return self._batch(self._newest(), after, limit, metadata=metadata)

    def batches(self, after: Offsets, *, limit: int, metadata: bool = True) -> Iterator[Batch]:
        """``since`` again and again, up to what is committed when it begins. Raises as ``since``."""
        handle, offsets = self._newest(), after
        while (batch := self._batch(handle, offsets, limit, metadata=metadata)).offsets != offsets:
            yield batch
            offsets = batch.offsets

    def _batch(self, handle: Handle, after: Offsets, limit: int | None, *, metadata: bool) -> Batch:
        self._require_committed(handle, after)
        ranges = next_ranges(after, handle.offsets, limit)
        offsets = {**after, **ends_of(ranges)}
        rows = self.table.read(handle, ranges).sort(PARTITION, OFFSET)
        if not metadata:
            rows = _plain(rows.filter(once()), keep=OPERATION)
        return Batch(rows, dict(sorted(offsets.items())), lag(offsets, handle.offsets))

    def _require_committed(self, handle: Handle, after: Offsets) -> None:
        strange = {p: n for p, n in after.items() if n > handle.offsets.get(p, 0) or n < 0}
        if strange:
            raise Terminal(
                f"offsets {strange} are not committed: the changelog stands at "
                f"{dict(sorted(handle.offsets.items()))}",
                where=self.uri,
                remedy="they are of another table, or the changelog was made anew since: take the state "
                "again, with its offsets",
            )


@dataclass(frozen=True, slots=True)
class Table:
    """A source table in the lake, in one format."""

    name: str
    current: Stored
    changelog: Changelog

    def latest(self, *, metadata: bool = True) -> pl.LazyFrame:
        """The current state, with the changes that the current table has not merged yet: one row per key,
        exact, and as fresh as the changelog.

        Raises Terminal if there is no such table, or if the two lake tables do not belong together.
        """
        rows = self.state().rows
        return rows if metadata else _plain(rows)

    def state(self) -> State:
        """``latest``, and the changelog's offsets that it stands at: to begin with the state, and go on with
        ``changelog.since(state.offsets)``."""
        self.changelog.version()  # no table: said clearly
        return state(self.current.table, self.changelog.table)


def _plain(rows: pl.LazyFrame, keep: str = "") -> pl.LazyFrame:
    """The document's fields alone."""
    return rows.drop([name for name in METADATA if name != keep])
