"""Where a table stands in its topic, and what it has to read next.

Offsets are Kafka's, per partition, and always mean "the next one to read" (one past the last committed).

Invariants
- A range starts where the table's commit ended: a gap would lose rows, an overlap would double them.
- Offsets need not be contiguous inside a range (transaction markers and compaction leave holes), so
  ``end - start`` is never a row count.
- A table stops when its next offset is outside what the topic holds; it never jumps to where data happens to
  be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cdc_platform.core.errors import LogTruncated, OffsetsLost

RANGES: Final = "cdc.ranges"
"""Key of a commit's metadata that holds the ranges it covers, as ``describe`` writes them."""


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets ``start`` (inclusive) to ``end`` (exclusive) of one partition."""

    start: int
    end: int

    def __bool__(self) -> bool:
        return self.end > self.start


Offsets = Mapping[int, int]
"""Partition → next offset."""

Ranges = Mapping[int, Range]
"""Partition → the offsets a batch covers."""

Positions = Mapping[int, int]
"""Partition → how far its source has come in it, as a number that only grows (``replicate.resends``)."""

NOWHERE: Final[Positions] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Stream:
    """Identity of one topic: names can be reused, ``topic_id`` (Kafka's UUID) and ``cluster_id`` cannot."""

    cluster_id: str
    topic: str
    topic_id: str
    partitions: int

    @property
    def identity(self) -> str:
        """Text kept in a lake table's properties to recognise a re-created topic."""
        return f"{self.cluster_id}/{self.topic}/{self.topic_id}"

    def app_id(self, partition: int) -> str:
        """Delta transaction identifier of one partition of this very topic."""
        return f"cdc/{self.identity}/{partition}"

    def position_id(self, partition: int) -> str:
        """Delta transaction identifier of the highest position in one partition."""
        return f"{self.app_id(partition)}/position"


def plan(stream: Stream, committed: Offsets, available: Ranges) -> dict[int, Range]:
    """The range to read per partition, up to the ends seen.

    ``committed``: the table's own offsets (a partition that is missing has never been read).
    ``available``: per partition the first retained offset and the end (last stable offset).
    Raises OffsetsLost or LogTruncated when the committed offset is not inside what the topic holds.
    """
    ranges = {}
    for partition, held in sorted(available.items()):
        start = committed.get(partition, 0)
        where = f"topic {stream.topic}, partition {partition}, committed offset {start}"
        if start < held.start:
            # A table that has never read begins at 0: what retention took before that is lost as well.
            raise OffsetsLost(
                f"Kafka removed offsets {start} to {held.start - 1} before they were committed to the lake",
                where=where,
                remedy="cdc rebuild TABLE --from source; then raise the topic's retention above the longest "
                "outage you want to survive",
            )
        if start > held.end:
            raise LogTruncated(
                f"the topic ends at offset {held.end}, before the offset the table has committed",
                where=where,
                remedy="the broker lost data or the table was restored from elsewhere: "
                "cdc rebuild TABLE --from source",
            )
        ranges[partition] = Range(start, held.end)
    return ranges


def lag(committed: Offsets, ends: Offsets) -> int:
    """Offsets between the commit and the ends, an upper bound of the records to read."""
    return sum(max(0, end - committed.get(partition, 0)) for partition, end in ends.items())


def reached(committed: Offsets, ends: Offsets) -> bool:
    """True when every partition's commit is at or past the given ends."""
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())


def earliest(several: Sequence[Offsets]) -> dict[int, int]:
    """Where to read from for all of them. A partition that one of them has never read begins at 0."""
    partitions = {partition for offsets in several for partition in offsets}
    return {p: min(offsets.get(p, 0) for offsets in several) for p in sorted(partitions)}


def next_ranges(start: Offsets, end: Offsets, most: int | None = None) -> dict[int, Range]:
    """What lies between: all, or ``most`` offsets, spread evenly over the partitions that are behind, of
    each one at least."""
    behind = {p: Range(start.get(p, 0), e) for p, e in end.items() if e > start.get(p, 0)}
    if most is None:
        return behind
    share = max(1, most // max(1, len(behind)))
    return {p: Range(r.start, min(r.end, r.start + share)) for p, r in behind.items()}


def ends_of(ranges: Ranges) -> dict[int, int]:
    return {partition: covered.end for partition, covered in ranges.items()}


def describe(ranges: Ranges) -> str:
    """``0:[17,42) 2:[5,9)``, for messages and commit metadata."""
    return " ".join(f"{p}:[{r.start},{r.end})" for p, r in sorted(ranges.items()))


def parse(text: str) -> dict[int, Range]:
    """The inverse of ``describe``."""
    ranges = {}
    for part in text.split():
        partition, covered = part.split(":")
        start, end = covered.strip("[)").split(",")
        ranges[int(partition)] = Range(int(start), int(end))
    return ranges
