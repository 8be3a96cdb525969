"""Source and lake side by side at one position: counts, digests by bucket, then the differing keys.

Invariant: keys are only looked for in buckets that differ, and the source is read again at the same
position, so the keys found are those that made the buckets differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from cdc_platform.core.digest import BUCKETS, BucketDigest, bucket_of
from cdc_platform.core.offsets import Offsets
from cdc_platform.verify.as_of import LakeState, Opened, as_of, last_offsets, live_keys, operations
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.rows import cells
from cdc_platform.verify.shape import DOCUMENTS, Shape
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import SHOWN_KEYS, Counts, DifferingKey, Kind

LISTED_ROWS: Final = 1_000_000
"""Rows of differing buckets held in memory to find the differing keys, about 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a comparison stands on. ``since``: offsets of the topic before ``at`` was taken. ``shape``: what
    the source says of the table at that position."""

    at: SourcePosition
    since: Offsets
    shape: Shape = DOCUMENTS
    source: BucketDigest = field(default_factory=BucketDigest)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The lake at the ground's position, and the buckets in which it is not the source."""

    ground: Ground
    changelog: Opened
    current: Opened
    state: LakeState
    lake: BucketDigest
    counts: Counts
    buckets: frozenset[int]

    @property
    def equal(self) -> bool:
        rows_agree = self.counts.folded == self.counts.source
        return rows_agree and not self.buckets and not self.state.unfolded

    @property
    def beyond(self) -> list[str]:
        """Columns of the lake that the source does not have, and that are not compared."""
        return self.ground.shape.beyond(self.current.handle.schema)

    @property
    def difference(self) -> str:
        """One sentence of numbers."""
        return (
            f"The source has {self.counts.source} rows, the current table {self.counts.lake}, the "
            f"changelog {self.counts.folded} live keys; {len(self.buckets)} of {BUCKETS} buckets differ; of "
            f"{self.state.reverted} keys changed since, {len(self.state.unfolded)} lack their last change."
            + "".join(f" {remark}" for remark in self.ground.shape.remarks)
        )


@dataclass(frozen=True, slots=True)
class Differing:
    """``shown``: the first SHOWN_KEYS of the ``found`` keys. ``buckets_unlisted``: buckets not looked
    into. ``source``: key → digest of the source's row, None without one, of those shown in these buckets."""

    shown: tuple[DifferingKey, ...]
    found: int
    buckets_unlisted: int
    source: Mapping[str, int | None] = field(default_factory=dict)


def compare(ground: Ground, changelog: Opened, current: Opened) -> Comparison:
    """Read the lake as of the ground's position and hold it against the source's digest."""
    state = as_of(changelog, current, ground.at, ground.since, ground.shape)
    lake = BucketDigest()
    lake.add(state.digests())
    counts = Counts(
        source=ground.source.rows,
        changelog=operations(changelog),
        folded=live_keys(changelog, current.handle.offsets, ground.at, ground.since),
        lake=lake.rows,
        current=current.rows().select(pl.len()).collect().item(),
        reverted=state.reverted,
    )
    return Comparison(ground, changelog, current, state, lake, counts, ground.source.differing(lake))


def extra_places(found: Comparison, wrong: Mapping[str, Kind]) -> dict[str, tuple[int, int]]:
    """Of the keys that the lake has and the source has not, the place of their last row; without those that
    the changelog has no row of."""
    extra = frozenset(key for key, kind in wrong.items() if kind is Kind.EXTRA)
    return dict(last_offsets(found.changelog, extra))


def wrong_keys(truth: Truth, found: Comparison) -> tuple[dict[str, Kind], int]:
    """The keys that make the buckets differ, from as many buckets as memory allows, one at least, and the
    number of buckets that were not looked into."""
    buckets = first_buckets(found.ground.source, found.lake, found.buckets)
    return _wrong(truth, found, buckets)[0], len(found.buckets) - len(buckets)


def _wrong(
    truth: Truth, found: Comparison, buckets: frozenset[int]
) -> tuple[dict[str, Kind], Mapping[str, int]]:
    """Those in these buckets, and the source's rows there."""
    wrong = dict.fromkeys(found.state.unfolded, Kind.UNFOLDED)
    source = dict(truth.digests(found.ground.at, buckets)) if buckets else {}
    if buckets:
        wrong |= kinds(source, found.state.digests(buckets))
    return wrong, source


def differing_keys(truth: Truth, found: Comparison) -> Differing:
    """Those of ``wrong_keys``, the first of them with their places and columns."""
    buckets = first_buckets(found.ground.source, found.lake, found.buckets)
    wrong, source = _wrong(truth, found, buckets)
    shown = sorted(wrong)[:SHOWN_KEYS]
    offsets = last_offsets(found.changelog, frozenset(shown))
    columns = _columns(truth, found, frozenset(key for key in shown if wrong[key] is Kind.DIFFERENT))
    named = [DifferingKey(key, wrong[key], *offsets.get(key, (None, None))) for key in shown]
    told = tuple(replace(each, columns=columns.get(each.key, ())) for each in named)
    read = {key: source.get(key) for key in shown if bucket_of(key) in buckets}
    return Differing(told, len(wrong), len(found.buckets) - len(buckets), read)


def _columns(truth: Truth, found: Comparison, keys: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    """In which columns the rows of a table differ. The source is read once more, if it is not too large."""
    shape = found.ground.shape
    if not keys or shape.columns is None or (found.counts.source or 0) > LISTED_ROWS:
        return {}
    source, lake = truth.cells(found.ground.at, keys), cells(found.state.rows, shape, keys)
    return {
        key: tuple(name for name, text in there.items() if text != lake.get(key, {}).get(name, "{}"))
        for key, there in source.items()
    }


def kinds(expected: Mapping[str, int], lake: Iterable[tuple[str, int]]) -> dict[str, Kind]:
    """What is wrong with each key of the lake that is not as expected. Keys with their digests."""
    wrong: dict[str, Kind] = {}
    seen: set[str] = set()
    for key, digest in lake:
        if key not in expected or key in seen:
            wrong[key] = Kind.EXTRA
        elif expected[key] != digest:
            wrong[key] = Kind.DIFFERENT
        seen.add(key)
    return wrong | dict.fromkeys(expected.keys() - seen, Kind.MISSING)


def first_buckets(source: BucketDigest, lake: BucketDigest, buckets: Set[int]) -> frozenset[int]:
    """As many of the buckets as LISTED_ROWS allows, one at least."""
    taken: set[int] = set()
    rows = 0
    for bucket in sorted(buckets):
        rows += max(source.counts[bucket], lake.counts[bucket])
        if taken and rows > LISTED_ROWS:
            break
        taken.add(bucket)
    return frozenset(taken)
