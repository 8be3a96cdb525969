"""What has changed in a lake's tables since the last proof that passed, as of a new position T of the source.

    keys    of every event that the last proof may not have seen, of every row by which the current table
            differs from its version then, and those that the source itself names
    rows    of these keys in the lake as of T

Invariants
- Every other row of the current table is the one that the last proof compared: it was there then, and the
  table's number of rows is what these differences make of the number then.
- Events are taken from the offsets that the topic had before the last proof's position: every event below
  them was part of what it compared.
- As of T, keys with events that had not happened at T are judged by the changelog, as ``as_of`` does it.
- After a full proof that failed there is none to go on from: what it found may be where nothing has changed.
- Where any of this cannot be known, the answer is the reason, a sentence's end: the table is read in full.

What a violated invariant breaks: a row that nobody compared would count as proven.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import orjson
import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, POSITION
from cdc_platform.core.errors import CdcError
from cdc_platform.core.history import CHANGE, DELETE, INSERT, Damaged, Forgotten, History
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Offsets, Stream
from cdc_platform.core.position import is_snapshot
from cdc_platform.verify.as_of import TRUNCATION, LakeState, Opened, had_happened, standing
from cdc_platform.verify.notes import Proven
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.rows import digests
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.stretch import missing_versions
from cdc_platform.verify.subject import Past

MOST_KEYS: Final = 1_000_000
"""Keys compared one by one, about 300 bytes each; of more, the table is read in full."""

_NARROW: Final = (KEY, PARTITION, OFFSET, OPERATION, POSITION)


@dataclass(frozen=True, slots=True)
class Changed:
    """``keys``: to be compared. ``state``: the lake's rows of these keys as of T. ``count``: rows of the
    whole table as of T, ``current``: as it stands. ``unheard``: keys that no event has changed."""

    keys: frozenset[str]
    state: LakeState
    count: int
    current: int
    unheard: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Fed:
    """Keys that commits changed, and by how many rows the table grew with them."""

    keys: frozenset[str]
    grown: int


def basis(past: Past, stream: Stream, shape: Shape) -> Proven | str:
    """What the last proof has left, or why it is not enough to go on from."""
    if past.every is None:
        return "that was asked for"
    try:
        note = past.notes.read(Kind.CURRENT, Proven)
        if note is None:
            return "no earlier proof of it is known"
        if note.doubted:
            return "the last proof that read every row failed"
        if past.now() - note.whole.taken_at >= past.every:
            return f"the last time was {note.whole.taken_at:%Y-%m-%d %H:%M} UTC, longer ago than full_hours"
        if note.identity != past.history.identity():
            return "its current table is another one than the last proof compared"
    except CdcError as error:
        return f"what the last proof left cannot be used: {error.what}"
    if note.stream != stream.identity:
        return "its topic is another one than at the last proof"
    if note.shape != form(shape):
        return "the source's table has other columns than at the last proof"
    return note


def form(shape: Shape) -> str:
    """Of two shapes the same only if rows compare by the same columns."""
    columns = None if shape.columns is None else dict(sorted(shape.columns.items()))
    return blake2b(orjson.dumps(columns), digest_size=16).hexdigest()


def changed_since(
    note: Proven,
    history: History,
    changelog: Opened,
    current: Opened,
    at: SourcePosition,
    since: Offsets,
    shape: Shape,
    told: Set[str],
) -> Changed | str:
    """``since``: offsets of the topic before ``at`` was taken. ``told``: keys that the source names."""
    fed = _fed(note, history, current.handle.version)
    if isinstance(fed, str):
        return fed
    ends, kind = current.handle.offsets, changelog.kind
    tail = changelog.changes(ends, note.since).select(_NARROW).collect()
    if tail.select(TRUNCATION.any()).item():
        return "the source's table was truncated since the last proof"
    heard = frozenset(tail[KEY].drop_nulls())
    keys = heard | fed.keys | told
    if len(keys) > MOST_KEYS:
        return f"{len(keys):,} keys have changed since the last proof"
    rows = current.rows().select(pl.len()).collect().item()
    if rows != note.rows + fed.grown:
        return f"its current table has {rows:,} rows, and by its commits {note.rows + fed.grown:,}"
    happened = had_happened(at, since, kind)
    later = tail.filter(~happened)[KEY].drop_nulls().unique()
    settled = current.rows().filter(_among(pl.Series(sorted(keys), dtype=pl.String)) & ~_among(later))
    beyond = tail.lazy().filter(pl.col(OFFSET) >= _start(since)).select(is_snapshot(kind).any())
    contended = bool(beyond.collect().item())
    if later.is_empty():
        state = LakeState(settled, 0, frozenset(), contended, shape)
        return Changed(keys, state, rows, rows, keys - heard)
    everything = changelog.changes(ends)
    past = everything.filter(_among(later) | TRUNCATION).collect().lazy()
    restored = standing(past.filter(happened), kind).collect()
    moving = current.rows().filter(_among(later)).collect()
    unfolded = set(digests(standing(past, kind), shape)) ^ set(digests(moving.lazy(), shape))
    state = LakeState(
        pl.concat([settled, restored.lazy()], how="diagonal_relaxed"),
        len(later),
        frozenset(key for key, _ in unfolded),
        contended,
        shape,
    )
    return Changed(keys, state, rows - moving.height + restored.height, rows, keys - heard)


def _fed(note: Proven, history: History, upto: int) -> _Fed | str:
    """By the current table's commits since the last proof."""
    after = note.version
    if upto < after:
        return f"its current table stands at version {upto}, before version {after} of the last proof"
    commits = history.commits(after, upto)
    if missing := missing_versions(commits, after, upto):
        return f"its current table's log no longer has version {missing[0]}"
    keys: set[str] = set()
    grown = 0
    try:
        for batch in history.differences(after, upto):
            keys.update(batch[KEY])
            grown += batch.filter(pl.col(CHANGE) == INSERT).height
            grown -= batch.filter(pl.col(CHANGE) == DELETE).height
            if len(keys) > MOST_KEYS:
                return f"commits have changed more than {MOST_KEYS:,} of its rows since the last proof"
    except (Forgotten, Damaged) as error:
        return f"what its commits changed cannot be told: {error.what}"
    return _Fed(frozenset(keys), grown)


def _among(keys: pl.Series) -> pl.Expr:
    """A condition rather than a join: columns of other rows are not read for it."""
    return pl.col(KEY).is_in(keys.implode())


def _start(since: Offsets) -> pl.Expr:
    return pl.col(PARTITION).replace_strict(dict(since), default=0, return_dtype=pl.Int64)
