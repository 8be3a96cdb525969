"""A table's topic, read once more to hold the lake against it.

Invariants
- Only committed records below the table's own offsets count, and only within the ranges that are asked for.
- Reading ends: it gives up after ``deadline`` seconds of the topic's clock. What Kafka has removed is an
  error, never an empty answer.
- What a record says as a row is for a function to tell that is handed in (``hear``): nothing here decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.model import Records, Stopped
from cdc_platform.core.offsets import Offsets, Ranges, Stream, describe, ends_of, reached
from cdc_platform.core.ports import Log
from cdc_platform.verify.verdict import Cause, Unprovable

STEP: Final = 5_000_000
"""Offsets of a partition whose rows are held at once to find doubled ones, 12 bytes each."""

POLL: Final = 0.5
POLL_ROWS: Final = 20_000

PLACES: Final = pl.Schema({PARTITION: pl.Int32(), OFFSET: pl.Int64()})


@dataclass(frozen=True, slots=True)
class Heard:
    """Records as the rows that the changelog should have of them. ``letters``: KEY, PARTITION and OFFSET of
    those that cannot be rows. ``repairs``: places of rows that the changelog may lack, as they came too late.
    ``unsent``: places, and a column of booleans for each field that a row may have from an earlier one.
    """

    rows: pl.DataFrame
    letters: pl.DataFrame
    repairs: pl.DataFrame
    unsent: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PLACES))


Hear = Callable[[Records], Heard]


@dataclass(frozen=True, slots=True)
class Topic:
    """``newest``: how many offsets of each partition are read again, at most. ``compacted``: Kafka may remove
    records that have a newer one with the same key. ``letters``: where the places (PARTITION, OFFSET) of dead
    letters are, if there are any. ``clock``: seconds that only grow; reading ends after ``deadline`` of them.
    ``step``: offsets of a partition whose rows are held at once. ``key_of``: the text of a record's key, if
    it can be read. ``hear``: what records say; without it no record is looked into.
    """

    stream: Stream
    log: Log
    newest: int
    clock: Callable[[], float]
    deadline: float = 120.0
    compacted: bool = False
    letters: Callable[[], pl.LazyFrame | None] = lambda: None
    step: int = STEP
    key_of: Callable[[bytes | None], str | None] = lambda _: None
    hear: Hear | None = None


def reread(topic: Topic, cover: Ranges, starts: Offsets, until: float | None = None) -> Iterator[Records]:
    """The committed records from ``starts`` on, batch by batch, until all of these ranges were read.

    ``starts``: where to begin in every partition, also one without a range. ``until``: by the topic's clock,
    if not its whole deadline. Raises Unprovable if it takes longer, and what stops the topic's reading.
    """
    if not cover:
        return
    position = dict(starts)
    end = topic.clock() + topic.deadline if until is None else until
    reader = topic.log.reader({topic.stream: starts})
    try:
        while not reached(position, ends_of(cover)):
            if topic.clock() > end:
                raise Unprovable(
                    Cause.LAGGING,
                    f"Kafka did not hand out {describe(cover)} within {topic.deadline:.0f} s",
                    where=f"topic {topic.stream.topic}",
                    remedy="check again, or fewer offsets (CDC_VERIFY_OFFSETS)",
                )
            for batch in reader.poll(POLL, POLL_ROWS):
                if isinstance(batch, Stopped):
                    raise batch.error
                position |= ends_of(batch.ranges)
                yield batch
    finally:
        reader.close()


def within(cover: Ranges) -> pl.Expr:
    """Rows whose place lies in the ranges."""
    inside = [
        (pl.col(PARTITION) == p) & pl.col(OFFSET).is_between(r.start, r.end, closed="left")
        for p, r in cover.items()
    ]
    return pl.any_horizontal(pl.lit(value=False), *inside)
