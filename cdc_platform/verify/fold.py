"""Is the current table the fold of its changelog, at the offsets where the current table stands?

Needs no source. The rule of the fold is written a second time here (``as_of.standing``), not taken from the
code that makes the current table.

Invariants
- The changelog stands at or beyond the current table; only its rows below the current table's offsets count.
- Every column that the current table has is compared, metadata too; columns that the changelog alone has are
  the business of ``schema_consistent``.
- Keys are folded in as many passes as memory asks for; what is held is a few narrow columns of one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, POSITION
from cdc_platform.core.digest import BucketDigest, bucket_of
from cdc_platform.verify.as_of import TRUNCATION, Opened, last_offsets, standing
from cdc_platform.verify.compare import first_buckets, kinds
from cdc_platform.verify.images import image_digests
from cdc_platform.verify.verdict import SHOWN_KEYS, DifferingKey

PASS_ROWS: Final = 4_000_000
"""Changelog rows folded at once: about 100 bytes each, plus their keys."""

_NARROW: Final = (KEY, PARTITION, OFFSET, OPERATION, POSITION)


@dataclass(frozen=True, slots=True)
class Folding:
    """``current``: the digest of the table as it is. ``shown``: the first of the ``found`` keys that are not
    as the changelog says; ``found`` is a lower bound if ``unlisted`` buckets were not looked into.
    """

    current: BucketDigest
    folded_rows: int
    equal: bool
    shown: tuple[DifferingKey, ...] = ()
    found: int = 0
    unlisted: int = 0


def fold_against(changelog: Opened, current: Opened, pass_rows: int = PASS_ROWS) -> Folding:
    """Fold the changelog up to the current table's offsets and hold the current table against it."""
    folded, state = BucketDigest(), BucketDigest()
    folded.add(_folded(changelog, current, pass_rows))
    state.add(image_digests(current.rows()))
    buckets = folded.differing(state)
    if not buckets:
        return Folding(state, folded.rows, equal=True)
    listed = first_buckets(folded, state, buckets)
    expected = dict(_inside(_folded(changelog, current, pass_rows), listed))
    wrong = kinds(expected, _inside(image_digests(current.rows()), listed))
    shown = sorted(wrong)[:SHOWN_KEYS]
    offsets = last_offsets(changelog, frozenset(shown))
    return Folding(
        state,
        folded.rows,
        equal=False,
        shown=tuple(DifferingKey(key, wrong[key], *offsets.get(key, (None, None))) for key in shown),
        found=len(wrong),
        unlisted=len(buckets) - len(listed),
    )


def _folded(changelog: Opened, current: Opened, pass_rows: int) -> Iterator[tuple[str, int]]:
    """Key and digest of the rows that the changelog makes."""
    history = changelog.changes(current.handle.offsets)
    known = changelog.handle.schema
    columns = [name for name in current.handle.schema if name in known]
    truncations = history.filter(TRUNCATION).select(_NARROW).collect().lazy()
    passes = history.select(pl.len()).collect().item() // pass_rows + 1
    for number in range(passes):
        mine = history.filter(pl.col(KEY).hash() % passes == number)
        rows = standing(mine.select(_NARROW), changelog.kind, truncations)
        winners = rows.select(PARTITION, OFFSET).collect().lazy()
        yield from image_digests(mine.select(columns).join(winners, on=[PARTITION, OFFSET], how="semi"))


def _inside(rows: Iterator[tuple[str, int]], buckets: Set[int]) -> Iterator[tuple[str, int]]:
    return ((key, digest) for key, digest in rows if bucket_of(key) in buckets)
