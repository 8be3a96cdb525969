"""Dead letters: events that could not become rows, kept with their bytes and why.

Invariants
- A letter is kept before the offsets move past it. A crash in between keeps it again at the next attempt,
  which finds it there: its partition and offset are its key.
- Letters are only added to. What becomes of one is a further row, with the next revision.
- The table belongs to one topic, as the changelog beside it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.core.columns import DEAD_LETTERS, OFFSET, OPEN, PARTITION, TOPIC, UTC_MICROS
from cdc_platform.core.offsets import Range, Ranges, Stream
from cdc_platform.core.ports import LakeTable

_PLACE: Final = [PARTITION, OFFSET]
_STANDING: Final = ["state", "note", "at"]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it stands. ``key`` and ``value``: the record's bytes."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    reason: str
    remedy: str
    state: str
    revision: int
    note: str
    at: datetime


def keep_letters(
    table: LakeTable, stream: Stream, letters: pl.DataFrame, ranges: Ranges, now: datetime
) -> None:
    """Keep those that are not there yet. ``letters``: as decoded, all within ``ranges``."""
    if letters.is_empty():
        return
    handle = table.open(stream)
    known = table.read(handle, ranges).select(_PLACE).collect()
    fresh = letters.join(known, on=_PLACE, how="anti")
    if fresh.is_empty():
        return
    rows = fresh.with_columns(
        pl.lit(0, dtype=pl.Int32).alias("revision"),
        pl.lit(OPEN).alias("state"),
        pl.lit("").alias("note"),
        pl.lit(now, dtype=UTC_MICROS).alias("at"),
    )
    table.append(handle, rows.select(DEAD_LETTERS.names()), {}, {})


def read_letters(table: LakeTable, stream: Stream, state: str | None = OPEN) -> list[Letter]:
    """Letters in that state, or all, in their partitions' order; none if no table was ever needed."""
    return standing(table.read(table.open(stream)), state) if table.exists() else []


def standing(rows: pl.LazyFrame, state: str | None = OPEN) -> list[Letter]:
    """What the rows of a table of letters tell of each letter: where it stands, its bytes, and why."""
    everything = rows.collect()
    newest = everything.sort("revision").unique(_PLACE, keep="last").select(*_PLACE, "revision", *_STANDING)
    found = everything.filter(pl.col("revision") == 0).unique(_PLACE).drop("revision", *_STANDING)
    letters = found.join(newest, on=_PLACE).sort(_PLACE).rename({TOPIC: "topic"})
    letters = letters.rename({PARTITION: "partition", OFFSET: "offset"})
    if state is not None:
        letters = letters.filter(pl.col("state") == state)
    return [Letter(**row) for row in letters.iter_rows(named=True)]


def settle_letters(
    table: LakeTable, stream: Stream, letters: Sequence[Letter], state: str, note: str, now: datetime
) -> None:
    """Write down what became of letters. What somebody else has settled since they were read stays so.

    Raises Conflict if the table moved since it was opened here.
    """
    if not letters:
        return
    handle = table.open(stream)
    newest = table.read(handle).group_by(_PLACE).agg(pl.col("revision").max()).collect()
    known = {(partition, offset): revision for partition, offset, revision in newest.rows()}
    rows = [
        {
            TOPIC: letter.topic,
            PARTITION: letter.partition,
            OFFSET: letter.offset,
            "timestamp_ms": letter.timestamp_ms,
            "revision": letter.revision + 1,
            "state": state,
            "note": note,
            "at": now,
        }
        for letter in letters
        if known.get((letter.partition, letter.offset)) == letter.revision
    ]
    if rows:
        table.append(handle, pl.DataFrame(rows, schema=DEAD_LETTERS), {}, {})


def around(letters: Sequence[Letter]) -> dict[int, Range]:
    """The smallest ranges that have all the letters in them."""
    partitions = {letter.partition for letter in letters}
    offsets = {p: [each.offset for each in letters if each.partition == p] for p in partitions}
    return {p: Range(min(found), max(found) + 1) for p, found in offsets.items()}
