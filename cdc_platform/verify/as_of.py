"""The lake's current table as it was at a position of its source: exact, although both tables hold later
events.

The current table stands at offsets C. Events below C that had not happened at the position T are
*invisible*. The table as of T is the current table, except for the keys that invisible events touch: each
of those is taken back to its last visible row in the changelog below C, or is absent if that row is a
delete or there is none. A truncation touches every key; of the rows before it, none is left.

Invariants
- Both handles stand at or beyond the barrier of T, so every visible event lies below C. Otherwise rows
  would be missing that the source had at T: a false alarm.
- The changelog stands at or beyond C. Otherwise an invisible event could be in the current table and not be
  known.
- ``since`` are offsets that Kafka had before T was taken, so every event below them is visible. Only the tail
  beyond them is searched for invisible events: the cost follows the changes during the proof, not the table.
- A row of an initial snapshot has no position. It counts as visible. When such a row lies
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
    OFFSET,
    OPERATION,
    PARTITION,
    POSITION,
    RESENT,
    TRUNCATE,
)
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.core.position import Engine, is_snapshot, kind_of, of, order
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.rows import digests
from cdc_platform.verify.shape import DOCUMENTS, Shape

NOT_RESENT: Final = pl.col(RESENT).ne_missing(pl.lit(value=True))
TRUNCATION: Final = pl.col(OPERATION) == TRUNCATE

PASS_ROWS: Final = 1_000_000
"""Changelog rows that are folded at once, about 200 bytes each."""


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

    @property
    def kind(self) -> Engine:
        """Whose positions the rows have."""
        return kind_of(self.handle.schema[POSITION])

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
    shape: Shape = DOCUMENTS

    def digests(self, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        """Key text and row digest of every row, or of those in ``buckets``, in batches of 50,000."""
        return digests(self.rows, self.shape, buckets)


def as_of(
    changelog: Opened, current: Opened, at: SourcePosition, since: Offsets, shape: Shape = DOCUMENTS
) -> LakeState:
    """The current table taken to ``at``; see the module's text for what must hold. ``shape``: the source's
    table there."""
    ends, kind = current.handle.offsets, changelog.kind
    tail = changelog.changes(ends, since).select(KEY, OPERATION, POSITION)
    contended = bool(tail.select(is_snapshot(kind).any()).collect().item())
    return _taken_back(changelog, current, since, visible(at, kind), shape, contended=contended)


def as_of_offsets(changelog: Opened, current: Opened, upto: Offsets, shape: Shape = DOCUMENTS) -> LakeState:
    """The current table as it was at offsets that it has passed; a partition that is missing begins at 0."""
    return _taken_back(changelog, current, upto, pl.lit(value=False), shape, contended=False)


def _taken_back(
    changelog: Opened, current: Opened, since: Offsets, happened: pl.Expr, shape: Shape, *, contended: bool
) -> LakeState:
    """Without the events beyond ``since`` that had not ``happened``."""
    ends, kind = current.handle.offsets, changelog.kind
    tail = changelog.changes(ends, since).select(KEY, OPERATION, POSITION)
    touched = _touched(changelog, current, tail.filter(~happened))
    reverted = touched.select(pl.len()).collect().item()
    state = current.rows()
    if not reverted:
        return LakeState(state, 0, frozenset(), contended, shape)
    everything = changelog.changes(ends)
    history = pl.concat([everything.join(touched, on=KEY, how="semi"), everything.filter(TRUNCATION)])
    history = history.collect().lazy()
    restored = standing(history.filter(happened | below(since)), kind)
    settled = state.join(touched, on=KEY, how="anti")
    folded = set(digests(standing(history, kind), shape))
    unfolded = folded ^ set(digests(state.join(touched, on=KEY, how="semi"), shape))
    return LakeState(
        pl.concat([settled, restored], how="diagonal_relaxed"),
        reverted,
        frozenset(key for key, _ in unfolded),
        contended,
        shape,
    )


def _touched(changelog: Opened, current: Opened, invisible: pl.LazyFrame) -> pl.LazyFrame:
    """The keys that these events touch: all there are, if one of them is a truncation."""
    events = invisible.select(KEY, OPERATION).collect().lazy()
    if events.select(TRUNCATION.any()).collect().item():
        known = changelog.changes(current.handle.offsets)
        events = pl.concat([known.select(KEY), current.rows().select(KEY)])
    return events.select(KEY).drop_nulls().unique().collect().lazy()


def visible(at: SourcePosition, kind: Engine) -> pl.Expr:
    """True for events that had happened at ``at``."""
    return (is_snapshot(kind) | at.visible()).fill_null(value=False)


def had_happened(at: SourcePosition, since: Offsets, kind: Engine) -> pl.Expr:
    """True for the events of a changelog that had happened at ``at``, by the offsets that the topic had just
    before, or by their positions."""
    return visible(at, kind) | below(since)


def last(history: pl.LazyFrame, kind: Engine) -> pl.LazyFrame:
    """Per key the last row, deletes included.

    Within a partition the offset decides. A key is in several partitions only if their number was changed;
    between those the position decides.
    """
    keyed = history.filter(pl.col(KEY).is_not_null())
    by_offset = keyed.sort(OFFSET).unique([KEY, PARTITION], keep="last", maintain_order=True)
    return by_offset.sort(*order(kind), maintain_order=True).unique(KEY, keep="last", maintain_order=True)


def standing(history: pl.LazyFrame, kind: Engine, truncations: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """The rows of the table that a history leads to: the last of each key, unless it is a delete or lies
    before the last truncation. ``truncations``: events that have them, if not the history."""
    rows = last(history, kind).filter(pl.col(OPERATION) != DELETE)
    return rows.filter(_after_truncation(history if truncations is None else truncations, kind))


def _after_truncation(history: pl.LazyFrame, kind: Engine) -> pl.Expr:
    """A truncation comes in one partition; what was before it in the others, only the position tells."""
    by = [each.alias(str(at)) for at, each in enumerate(place_of(kind))]
    found = history.filter(TRUNCATION).select(by).sort(pl.all()).tail(1).collect()
    if found.is_empty():
        return pl.lit(value=True)
    after, level = pl.lit(value=False), pl.lit(value=True)
    for mine, its in zip(place_of(kind), map(pl.lit, found.row(0)), strict=True):
        after, level = after | (level & (mine > its)), level & (mine == its)
    return after.fill_null(value=True)


def place_of(kind: Engine) -> list[pl.Expr]:
    """Where a change stands to a truncation, which waits until all others of its table have ended: in
    PostgreSQL's log they are before it or after it, too, whatever came first of all to its commit."""
    return [of("lsn")] if kind is Engine.POSTGRESQL else order(kind)


def live_keys(
    changelog: Opened, ends: Offsets, at: SourcePosition, since: Offsets, pass_rows: int = PASS_ROWS
) -> int:
    """Rows the source had at ``at`` by the changelog alone; keys are looked at in passes of about so many
    rows, so that memory does not follow the changelog."""
    history = changelog.changes(ends).select(KEY, PARTITION, OFFSET, OPERATION, POSITION)
    happened = history.filter(had_happened(at, since, changelog.kind))
    truncations = happened.filter(TRUNCATION).collect().lazy()
    passes = history.select(pl.len()).collect().item() // pass_rows + 1
    return sum(
        standing(happened.filter(pl.col(KEY).hash() % passes == number), changelog.kind, truncations)
        .select(pl.len())
        .collect()
        .item()
        for number in range(passes)
    )


def operations(changelog: Opened) -> Mapping[str, int]:
    """Rows of the changelog by operation."""
    counts = changelog.rows().group_by(OPERATION).len().sort(OPERATION).collect()
    return dict(counts.iter_rows())


def last_offsets(changelog: Opened, keys: Set[str]) -> Mapping[str, tuple[int, int]]:
    """Partition and offset of the newest changelog row of each of a few keys; without one, left out."""
    rows = changelog.changes().select(KEY, PARTITION, OFFSET, POSITION).filter(pl.col(KEY).is_in(list(keys)))
    newest = last(rows, changelog.kind).select(KEY, PARTITION, OFFSET).collect()
    return {key: (partition, offset) for key, partition, offset in newest.iter_rows()}


def below(since: Offsets) -> pl.Expr:
    known = [
        (pl.col(PARTITION) == partition) & (pl.col(OFFSET) < offset) for partition, offset in since.items()
    ]
    return pl.any_horizontal(*known) if known else pl.lit(False)
