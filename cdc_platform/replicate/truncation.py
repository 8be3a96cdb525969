"""Truncations: a table was emptied at one position of its source.

The event of a truncation has no key and reaches one partition only. So its offset says nothing about the
events of other partitions; its position does.

Invariants
- The commit that takes a truncation into the current table removes every row that is positioned before it.
- An event that is positioned before a truncation which the table has taken changes nothing, whenever it
  arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, OPERATION, POSITION, TRUNCATE
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range, Ranges
from cdc_platform.core.position import POSITIONS, Engine, before, kind_of, order
from cdc_platform.decode.fold import once

Emptied = Mapping[str, Any]
"""The position of a truncation."""

IS_TRUNCATION: Final = pl.col(OPERATION) == TRUNCATE


class Read(Protocol):
    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame: ...


@dataclass(slots=True)
class Truncations:
    """The newest truncation below some offsets of a changelog. Losing it costs one look at all of them."""

    _seen: dict[int, int] = field(default_factory=dict)
    _newest: Emptied | None = None

    def newest(self, changelog: Read, handle: Handle, ends: Offsets) -> Emptied | None:
        """Position of the newest truncation below ``ends``, None if there was none."""
        kind = kind_of(handle.schema[POSITION])
        if kind is Engine.MONGODB:
            return None
        if any(end < self._seen.get(partition, 0) for partition, end in ends.items()):
            self._seen, self._newest = {}, None  # the table was moved back, or somebody asks about before
        ranges = {p: Range(self._seen.get(p, 0), end) for p, end in ends.items()}
        if ranges := {p: r for p, r in ranges.items() if r}:
            self._newest = _newest(changelog.read(handle, ranges), kind, self._newest)
            self._seen |= ends
        return self._newest


def _newest(history: pl.LazyFrame, kind: Engine, known: Emptied | None) -> Emptied | None:
    found = history.filter(IS_TRUNCATION, once()).select(POSITION).collect()
    if known is not None:
        found = pl.concat([found, pl.DataFrame({POSITION: [known]}, schema={POSITION: POSITIONS[kind]})])
    last: Emptied | None = found.sort(*order(kind))[POSITION][-1] if found.height else None
    return last


def standing(changes: pl.LazyFrame, emptied: Emptied | None) -> pl.LazyFrame:
    """The changes that still count: no truncations, and nothing positioned before the one at ``emptied``."""
    kept = changes.filter(~IS_TRUNCATION)
    if emptied is None:
        return kept
    return kept.filter(~before(emptied, kind_of(changes.collect_schema()[POSITION])))


def removed(rows: pl.LazyFrame, emptied: Emptied) -> pl.DataFrame:
    """Deletes of those of a current table's rows that are positioned before a truncation."""
    gone = rows.filter(before(emptied, kind_of(rows.collect_schema()[POSITION])))
    return gone.select(KEY, pl.lit(DELETE).alias(OPERATION), POSITION).collect()
