"""Changelog → current state: one chunk.

    committed → changelog rows past it → fold → evolve → commit (rows and offsets) → receipt

Invariant: the current state is only ever made from the changelog. It needs nothing that is in memory or in
Kafka, so catching up, rebuilding and keeping up are the same step.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import OffsetsLost
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Handle, Kind, Receipt
from cdc_platform.core.offsets import Range, Ranges, ends_of, next_ranges
from cdc_platform.core.sizes import LARGE_ROW_BYTES
from cdc_platform.decode.fold import fold
from cdc_platform.replicate.commit import commit, fit
from cdc_platform.replicate.growth import has_grown, learn, unheard_of
from cdc_platform.replicate.recompute import last_rows
from cdc_platform.replicate.replica import Replica
from cdc_platform.replicate.truncation import IS_TRUNCATION, removed, standing

LOOK_AHEAD: Final = 64
"""Offsets among which the next large row is looked for."""


def merge_changes(replica: Replica) -> Receipt | None:
    """Bring the current state up to at most ``limits.current_rows`` of the changelog's offsets further, or as
    many as ``limits.current_bytes`` allows, or by one row of LARGE_ROW_BYTES.

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
            remedy=f"the changelog was restored or replaced: cdc rebuild {replica.name}",
        )
    if unheard_of(replica, target):
        learn(replica, target, source)
        return _merge(replica)
    chunk = _next(replica, target, source)
    if not chunk:
        return None
    changes = replica.changelog.read(source, chunk).collect()
    ends = {**target.offsets, **ends_of(chunk)}
    emptied = replica.truncations.newest(replica.changelog, source, ends)
    counting = standing(changes.lazy(), emptied).collect()
    if has_grown(replica, target, source):
        rows = last_rows(replica.changelog, source, counting[columns.KEY], ends, emptied)
    else:
        rows = unstored(fold(counting).rows, source.logical)
    rows_in = changes.height
    if emptied is not None and changes.select(IS_TRUNCATION.any()).item():
        gone = removed(replica.current.read(target), emptied)
        rows_in += gone.height  # a truncation stands for a delete of each row that it removes
        rows = pl.concat([rows, gone.join(rows, on=columns.KEY, how="anti")], how="diagonal")
    fitted = fit(target.logical, rows, replica)
    receipt = commit(replica, Kind.CURRENT, target, fitted, chunk, rows_in)
    return dataclasses.replace(receipt, more=any(end > ends.get(p, 0) for p, end in source.offsets.items()))


def _next(replica: Replica, target: Handle, source: Handle) -> Ranges:
    """What to merge next, empty if there is nothing: as much as the limits allow, of large rows one."""
    most = replica.limits.current_rows
    while chunk := next_ranges(target.offsets, source.offsets, most):
        offsets = sum(covered.end - covered.start for covered in chunk.values())
        size = replica.changelog.row_bytes(source, chunk)
        if size >= LARGE_ROW_BYTES and offsets <= LOOK_AHEAD:
            return _first_row(replica, source, chunk)
        fits = size < LARGE_ROW_BYTES and offsets * size <= replica.limits.current_bytes
        if fits or offsets == len(chunk):
            return chunk
        # By half: one large row far ahead says nothing of the rows before it.
        fitting = 1 if size >= LARGE_ROW_BYTES else replica.limits.current_bytes // size
        most = max(offsets // 2, min(offsets - 1, fitting))
    return {}


def _first_row(replica: Replica, source: Handle, chunk: Ranges) -> Ranges:
    """The chunk up to its first row, in the partition where most are waiting; all of it if it has none."""
    rows = replica.changelog.read(source, chunk).select(columns.PARTITION, columns.OFFSET)
    first = rows.group_by(columns.PARTITION).agg(pl.len(), pl.min(columns.OFFSET)).collect()
    if first.is_empty():
        return chunk
    partition, _, offset = first.sort("len", columns.PARTITION).row(-1)
    return {partition: Range(chunk[partition].start, offset + 1)}
