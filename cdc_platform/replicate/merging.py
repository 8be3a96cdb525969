"""Changelog → current state: one chunk.

    committed → changelog rows past it → fold → evolve → commit (rows and offsets) → receipt

Invariant: the current state is only ever made from the changelog. It needs nothing that is in memory or in
Kafka, so catching up, rebuilding and keeping up are the same step.
"""

from __future__ import annotations

from cdc_platform.core import columns
from cdc_platform.core.errors import OffsetsLost
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Kind, Receipt
from cdc_platform.core.offsets import Offsets, Range, ends_of
from cdc_platform.decode.fold import fold
from cdc_platform.replicate.commit import commit, fit
from cdc_platform.replicate.growth import has_grown, learn, unheard_of
from cdc_platform.replicate.recompute import last_rows
from cdc_platform.replicate.replica import Replica


def merge_changes(replica: Replica) -> Receipt | None:
    """Bring the current state up to at most ``limits.current_rows`` of the changelog's offsets further, or as
    many as ``limits.current_bytes`` allows.

    None when the current state stands where the changelog does.
    """
    return replica.retrying(_merge, replica)


def _merge(replica: Replica) -> Receipt | None:
    # In this order: another writer may move both tables in between, and only ahead.
    target = replica.current.open(replica.stream)
    source = replica.changelog.open(replica.stream)
    ahead = {p: end for p, end in target.offsets.items() if end > source.offsets.get(p, 0)}
    if ahead:
        raise OffsetsLost(
            f"the current table stands at offsets {ahead}, past its changelog",
            where=f"{replica.current.uri} and {replica.changelog.uri}",
            remedy="the changelog was restored or replaced: rebuild both tables from a new snapshot",
        )
    if unheard_of(replica, target):
        learn(replica, target, source)
        return _merge(replica)
    chunk = _chunk(target.offsets, source.offsets, replica.limits.current_rows)
    if not chunk:
        return None
    if size := replica.changelog.row_bytes(source, chunk):
        most = min(replica.limits.current_rows, replica.limits.current_bytes // size)
        chunk = _chunk(target.offsets, source.offsets, most)
    changes = replica.changelog.read(source, chunk).collect()
    if has_grown(replica, target, source):
        rows = last_rows(
            replica.changelog, source, changes[columns.KEY], {**target.offsets, **ends_of(chunk)}
        )
    else:
        rows = unstored(fold(changes).rows, source.logical)
    fitted = fit(target.logical, rows, replica)
    return commit(replica, Kind.CURRENT, target, fitted, chunk, changes.height)


def _chunk(start: Offsets, end: Offsets, rows: int) -> dict[int, Range]:
    """What to merge next: at most ``rows`` offsets, spread evenly over the partitions that are behind."""
    behind = {p: Range(start.get(p, 0), e) for p, e in end.items() if e > start.get(p, 0)}
    share = max(1, rows // max(1, len(behind)))
    return {p: Range(r.start, min(r.end, r.start + share)) for p, r in behind.items()}
