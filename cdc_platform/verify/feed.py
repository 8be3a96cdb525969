"""Does the change data feed of a current table, replayed from a state that is known, give the table as it is?

    digest(then) + Σ digest(insert, postimage) − Σ digest(preimage, delete) = digest(now), and so for the
    counts

Invariants
- Digests are sums, so the order of changes does not matter and nothing is held but the images of updates,
  some versions at a time: the cost follows the changes, not the table.
- A feed that cannot be read to the end gives no sum at all (``core.history``).
- A preimage belongs to the postimage of the same key and version, one each.

What a violated invariant breaks: who follows the feed would build another table than the one that is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY
from cdc_platform.core.digest import BucketDigest, bucket_of
from cdc_platform.core.history import (
    CHANGE,
    COMMIT,
    DELETE,
    INSERT,
    POSTIMAGE,
    PREIMAGE,
    Commit,
    Forgotten,
    History,
)
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.finding import Fact, Part, failed, passed
from cdc_platform.verify.images import digests_of, image_digests
from cdc_platform.verify.notes import Anchor
from cdc_platform.verify.stretch import Stretch, remembered, stretch
from cdc_platform.verify.verdict import SHOWN_KEYS, Unprovable

WINDOW_ROWS: Final = 200_000
"""Changes read in one go, by what the commits say they wrote; more only if one commit has more."""

NAMED_BUCKETS: Final = 8
"""Buckets whose changes are held in memory to name the keys at fault."""

_ADDED, _REMOVED = (INSERT, POSTIMAGE), (PREIMAGE, DELETE)


@dataclass(slots=True)
class Replayed:
    """``digest``: the state from which it began, and every change since. ``unpaired``: the first few updates
    with an image too few or too many, in words; ``unpaired_count``: how many there are.
    """

    digest: BucketDigest
    changes: Counter[str] = field(default_factory=Counter)
    unpaired: list[str] = field(default_factory=list)
    unpaired_count: int = 0


def feed_leads_here(current: Opened, state: BucketDigest, history: History, note: Anchor | None) -> Part:
    """``state``: digest of the table as it is. Raises Unprovable and Forgotten where the past is not
    known.
    """
    try:
        way = stretch(current, history, note)
    except Unprovable as error:
        way = remembered(current, history, error)
    if isinstance(way, Part):
        return way
    replayed = replay(history, way.commits, _state_at(history, way), way.after)
    facts = (
        Fact("anchor_version", way.after),
        Fact("current_version", way.upto),
        Fact("changes", dict(replayed.changes)),
        Fact("strangers", way.strangers),
    )
    if replayed.unpaired_count:
        return failed(
            f"In the change feed {way} {replayed.unpaired_count} updates lack an image: "
            f"{'; '.join(replayed.unpaired)}.{way.remark}",
            *facts,
        )
    if buckets := replayed.digest.differing(state):
        broken = _named(history, way, current, frozenset(sorted(buckets)[:NAMED_BUCKETS]))
        return failed(
            f"The change feed {way} leads to {replayed.digest.rows} rows, and the table has {state.rows}; "
            f"{len(buckets)} of 256 buckets differ. {broken}{way.remark}",
            *facts,
        )
    return passed(
        f"The change feed {way}, leads to the {state.rows:,} rows that are there "
        f"({_counted(replayed.changes)}).{way.remark}",
        *facts,
    )


def _state_at(history: History, way: Stretch) -> BucketDigest:
    """Where a stretch begins."""
    if isinstance(way.note, Anchor):
        return way.note.digest()
    state = BucketDigest()
    state.add(image_digests(history.rows(way.after)))
    return state


def _counted(changes: Counter[str]) -> str:
    return (
        f"{changes[INSERT]:,} inserted, {changes[POSTIMAGE]:,} updated, {changes[DELETE]:,} deleted"
        if changes
        else "nothing changed"
    )


def windows(commits: Sequence[Commit], after: int) -> Iterator[tuple[int, int]]:
    """Pieces of about WINDOW_ROWS changes: versions past the first up to the second number."""
    rows = 0
    for commit in commits:
        rows += commit.applied or 0
        if rows >= WINDOW_ROWS or commit is commits[-1]:
            yield after, commit.version
            rows, after = 0, commit.version


def replay(history: History, commits: Sequence[Commit], start: BucketDigest, after: int) -> Replayed:
    """``start``, which is used up, and the changes of the commits that follow it. Raises Forgotten."""
    replayed = Replayed(start)
    for window in windows(commits, after):
        updates = []
        for batch in history.changes(*window):
            replayed.changes.update(dict(batch.group_by(CHANGE).len().iter_rows()))
            replayed.digest.add(digests_of(batch.filter(pl.col(CHANGE).is_in(_ADDED))))
            replayed.digest.remove(digests_of(batch.filter(pl.col(CHANGE).is_in(_REMOVED))))
            images = batch.filter(pl.col(CHANGE).is_in([PREIMAGE, POSTIMAGE]))
            updates.append(images.select(KEY, COMMIT, CHANGE))
        if updates:
            _pair(replayed, pl.concat(updates))
    return replayed


def _pair(replayed: Replayed, updates: pl.DataFrame) -> None:
    before, after = (pl.col(CHANGE) == PREIMAGE).sum(), (pl.col(CHANGE) == POSTIMAGE).sum()
    images = updates.group_by(COMMIT, KEY).agg(before.alias("before"), after.alias("after"))
    odd = images.filter((pl.col("before") != 1) | (pl.col("after") != 1)).sort(COMMIT, KEY)
    replayed.unpaired_count += odd.height
    shown = odd.select(COMMIT, KEY, "before", "after").head(SHOWN_KEYS - len(replayed.unpaired))
    replayed.unpaired += [
        f"key {key} in version {version} ({before} before, {after} after)"
        for version, key, before, after in shown.iter_rows()
    ]


def _named(history: History, way: Stretch, current: Opened, buckets: Set[int]) -> str:
    # What a version takes away comes before what it adds.
    images = sorted(_images(history, way, buckets), key=lambda image: image[:2])
    broken = _broken_chains(images, _inside(current.rows(), buckets), _then(history, way, buckets))
    if broken:
        return f"At fault: {'; '.join(broken[:SHOWN_KEYS])}."
    changed = sorted({key for _, _, key, _ in images})[:SHOWN_KEYS]
    told = f" Keys of these buckets that the feed has changed: {'; '.join(changed)}." if changed else ""
    return (
        "No row of the feed itself is at fault: rows were changed without a change in the feed, or the files "
        f"from which it is read.{told}"
    )


def _inside(rows: pl.LazyFrame, buckets: Set[int]) -> dict[str, int]:
    """Key and digest of the rows of these buckets."""
    return {key: digest for key, digest in image_digests(rows) if bucket_of(key) in buckets}


def _then(history: History, way: Stretch, buckets: Set[int]) -> dict[str, int]:
    """The rows of these buckets where the stretch begins, as far as they are remembered."""
    try:
        return _inside(history.rows(way.after), buckets)
    except Forgotten:
        return {}


def _broken_chains(
    images: Sequence[tuple[int, bool, str, int]], now: Mapping[str, int], then: Mapping[str, int]
) -> list[str]:
    """Keys whose images do not follow from the rows of then and from one another, or do not lead to the row
    of now. ``images``: as ``_images`` has them, in order. ``then``, ``now``: key and digest of rows.
    """
    last: dict[str, int | None] = dict(then)
    broken: dict[str, str] = {}
    for version, added, key, digest in images:
        if not added and key in last and last[key] != digest:
            broken.setdefault(key, f"{key} (version {version} takes away another row than was there)")
        if added and last.get(key) is not None:
            broken.setdefault(key, f"{key} (version {version} adds it a second time)")
        last[key] = digest if added else None
    for key in {key for _, _, key, _ in images}:
        last_digest = last[key]
        if now.get(key) != last_digest:
            broken.setdefault(key, f"{key} (its last image in the feed is not the row that is there)")
    return [broken[key] for key in sorted(broken)]


def _images(history: History, way: Stretch, buckets: Set[int]) -> Iterator[tuple[int, bool, str, int]]:
    """Version, whether the image was added or taken away, key and digest."""
    for window in windows(way.commits, way.after):
        for batch in history.changes(*window):
            inside = [bucket_of(key) in buckets for key in batch[KEY]]
            found = batch.filter(pl.Series(inside, dtype=pl.Boolean))
            images = zip(found[COMMIT], found[CHANGE], digests_of(found), strict=True)
            yield from ((version, change in _ADDED, key, digest) for version, change, (key, digest) in images)
