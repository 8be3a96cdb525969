"""The lake's current table as it was at a cluster time: exact, although both tables hold later events.

The current table stands at offsets C. Events below C that had not happened at the position T are
*invisible*. The table as of T is the current table, except for the keys that invisible events touch: each
of those is taken back to its last visible row in the changelog below C, or is absent if that row is a
delete or there is none.

Invariants
- Both handles stand at or beyond the barrier of T, so every visible event lies below C. Otherwise rows
  would be missing that the source had at T: a false alarm.
- The changelog stands at or beyond C. Otherwise an invisible event could be in the current table and not be
  known.
- ``since`` are offsets that Kafka had before T was taken, so every event below them is visible. Only the tail
  beyond them is searched for invisible events: the cost follows the changes during the proof, not the table.
- A row of an initial snapshot (``r``, ord -1) has no position. It counts as visible. When such a row lies
  beyond ``since`` it may show the source as it was after T; the result then says ``contended`` and can
  prove no failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import (
    DELETE,
    KEY,
    METADATA,
    OFFSET,
    OPERATION,
    PARTITION,
    POSITION,
    READ,
    RESENT,
)
from cdc_platform.core.digest import bucket_of, encode_columns, row_digest
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.verify.unfold import unfold
from cdc_platform.verify.verdict import ClusterTime

BATCH_ROWS: Final = 50_000

_SECONDS: Final = pl.col(POSITION).struct.field("seconds")
_ORD: Final = pl.col(POSITION).struct.field("ord")
NOT_RESENT: Final = pl.col(RESENT).ne_missing(pl.lit(value=True))
_SNAPSHOT: Final = (pl.col(OPERATION) == READ) & (_ORD == -1)


@dataclass(frozen=True, slots=True)
class Opened:
    """A lake table and the version of it that is compared."""

    table: LakeTable
    handle: Handle

    def rows(self, ends: Offsets | None = None, since: Offsets | None = None) -> pl.LazyFrame:
        """All rows, or those from ``since`` (or the beginning) up to ``ends``."""
        if ends is None:
            return self.table.read(self.handle)
        starts = since or {}
        return self.table.read(self.handle, {p: Range(starts.get(p, 0), end) for p, end in ends.items()})

    def changes(self, ends: Offsets | None = None, since: Offsets | None = None) -> pl.LazyFrame:
        """The rows without events that were sent again: those are no changes."""
        return self.rows(ends, since).filter(NOT_RESENT)


@dataclass(frozen=True, slots=True)
class LakeState:
    """The table as of the position. ``rows``: key, metadata and fields. ``reverted``: keys taken back.

    ``unfolded``: keys among those whose current row is not their last row in the changelog. As of the
    position they are judged by the changelog, so this is what tells a wrong current row of a key that keeps
    changing. ``contended``: rows of an initial snapshot arrived while the proof ran, a difference proves
    nothing.
    """

    rows: pl.LazyFrame
    reverted: int
    unfolded: frozenset[str]
    contended: bool

    def digests(self, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        """Key text and row digest of every row, or of those in ``buckets``, in batches of 50,000."""
        return _digests(self.rows, buckets)


def as_of(changelog: Opened, current: Opened, at: ClusterTime, since: Offsets) -> LakeState:
    """The current table taken to ``at``; see the module's text for what must hold."""
    ends = current.handle.offsets
    tail = changelog.changes(ends, since).select(KEY, OPERATION, POSITION)
    contended = bool(tail.select(_SNAPSHOT.any()).collect().item())
    touched = tail.filter(~visible(at)).select(KEY).unique().collect().lazy()
    reverted = touched.select(pl.len()).collect().item()
    state = current.rows()
    if not reverted:
        return LakeState(state, 0, frozenset(), contended)
    history = changelog.changes(ends).join(touched, on=KEY, how="semi").collect().lazy()
    restored = alive(last(history.filter(visible(at) | _below(since))))
    settled = state.join(touched, on=KEY, how="anti")
    folded = set(_digests(alive(last(history))))
    unfolded = folded ^ set(_digests(state.join(touched, on=KEY, how="semi")))
    return LakeState(
        pl.concat([settled, restored], how="diagonal_relaxed"),
        reverted,
        frozenset(key for key, _ in unfolded),
        contended,
    )


def visible(at: ClusterTime) -> pl.Expr:
    """True for events that had happened at ``at``."""
    before = (at.seconds > _SECONDS) | ((at.seconds == _SECONDS) & (at.ord >= _ORD))
    return _SNAPSHOT | before


def last(history: pl.LazyFrame) -> pl.LazyFrame:
    """Per key the last row, deletes included.

    Within a partition the offset decides. A key is in several partitions only if their number was changed;
    between those the position decides.
    """
    by_offset = history.sort(OFFSET).unique([KEY, PARTITION], keep="last", maintain_order=True)
    return by_offset.sort(_SECONDS, _ORD, maintain_order=True).unique(KEY, keep="last", maintain_order=True)


def live_keys(changelog: Opened, ends: Offsets, at: ClusterTime, since: Offsets) -> int:
    """Rows the source had at ``at`` by the changelog alone."""
    history = changelog.changes(ends).select(KEY, PARTITION, OFFSET, OPERATION, POSITION)
    live = alive(last(history.filter(visible(at) | _below(since))))
    return int(live.select(pl.len()).collect().item())


def operations(changelog: Opened) -> Mapping[str, int]:
    """Rows of the changelog by operation."""
    counts = changelog.rows().group_by(OPERATION).len().sort(OPERATION).collect()
    return dict(counts.iter_rows())


def last_offsets(changelog: Opened, keys: Set[str]) -> Mapping[str, tuple[int, int]]:
    """Partition and offset of the newest changelog row of each of a few keys; without one, left out."""
    rows = changelog.changes().select(KEY, PARTITION, OFFSET, POSITION).filter(pl.col(KEY).is_in(list(keys)))
    newest = last(rows).select(KEY, PARTITION, OFFSET).collect()
    return {key: (partition, offset) for key, partition, offset in newest.iter_rows()}


def alive(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of the last rows of some keys, those that are rows of the table."""
    return rows.filter(pl.col(OPERATION) != DELETE)


def _below(since: Offsets) -> pl.Expr:
    known = [
        (pl.col(PARTITION) == partition) & (pl.col(OFFSET) < offset) for partition, offset in since.items()
    ]
    return pl.any_horizontal(*known) if known else pl.lit(False)


def _digests(rows: pl.LazyFrame, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
    for batch in rows.collect_batches(chunk_size=BATCH_ROWS):
        yield from _batch_digests(batch, buckets)


def _batch_digests(batch: pl.DataFrame, buckets: Set[int] | None) -> Iterator[tuple[str, int]]:
    if buckets is not None:
        inside = [bucket_of(key) in buckets for key in batch[KEY]]
        batch = batch.filter(pl.Series(inside, dtype=pl.Boolean))
    keys = batch[KEY].to_list()
    fields = [column for column in batch.get_columns() if column.name not in METADATA]
    rows = encode_columns(fields, unfold) if fields else ["{}"] * len(keys)
    return ((key, row_digest(key, canonical)) for key, canonical in zip(keys, rows, strict=True))
