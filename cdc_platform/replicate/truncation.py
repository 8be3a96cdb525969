"""Truncations: a table was emptied at one position of its source.

The event of a truncation has no key and reaches one partition only. So its offset says nothing about the
events of other partitions; its position does.

Invariants
- The commit that takes a truncation into the current table removes every row that is positioned before it.
- An event that is positioned before a truncation which the table has taken changes nothing, whenever it
  arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, OPERATION, POSITION, TRUNCATE
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.core.position import Engine, before, kind_of, order
from cdc_platform.decode.fold import once

_TRUNCATION = pl.col(OPERATION) == TRUNCATE


@dataclass(slots=True)
class Truncations:
    """The newest truncation below some offsets of a changelog. Losing it costs one look at all of them."""

    _seen: dict[int, int] = field(default_factory=dict)
    _newest: dict[str, Any] | None = None

    def newest(self, changelog: LakeTable, handle: Handle, ends: Offsets) -> dict[str, Any] | None:
        """Position of the newest truncation below ``ends``, None if there was none."""
        kind = kind_of(handle.schema[POSITION])
        if kind is Engine.MONGODB:
            return None
        if any(end < self._seen.get(partition, 0) for partition, end in ends.items()):
            self._seen, self._newest = {}, None  # the table was moved back
        ranges = {p: Range(self._seen.get(p, 0), end) for p, end in ends.items()}
        if ranges := {p: r for p, r in ranges.items() if r}:
            found = changelog.read(handle, ranges).filter(_TRUNCATION, once()).select(POSITION).collect()
            self._keep(found, kind)
            self._seen |= ends
        return self._newest

    def _keep(self, found: pl.DataFrame, kind: Engine) -> None:
        if self._newest is not None:
            known = pl.DataFrame({POSITION: [self._newest]}, schema=found.schema)
            found = pl.concat([known, found])
        if found.height:
            self._newest = found.sort(*order(kind), nulls_last=False)[POSITION][-1]


def without_truncated(changes: pl.DataFrame, position: dict[str, Any] | None) -> pl.DataFrame:
    """The changes that still count: none of a truncation itself, and none positioned before ``position``."""
    kept = changes.filter(~_TRUNCATION)
    if position is None:
        return kept
    return kept.filter(~before(position, kind_of(changes.schema[POSITION])))


def removed_by(position: dict[str, Any], current: LakeTable, handle: Handle) -> pl.DataFrame:
    """Deletes of all rows of the current table that are positioned before a truncation."""
    rows = current.read(handle).filter(before(position, kind_of(handle.schema[POSITION])))
    deletes = rows.select(KEY, pl.lit(DELETE).alias(OPERATION), POSITION)
    return deletes.collect()
