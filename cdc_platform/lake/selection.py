"""Selecting lake rows by the Kafka offsets they came from."""

from __future__ import annotations

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.offsets import Range, Ranges


def within(ranges: Ranges) -> pl.Expr:
    """Rows whose Kafka offset lies in the ranges; a partition that is not named has no rows."""

    def inside(partition: int, covered: Range) -> pl.Expr:
        return (
            (pl.col(PARTITION) == partition)
            & (pl.col(OFFSET) >= covered.start)
            & (pl.col(OFFSET) < covered.end)
        )

    return pl.any_horizontal([pl.lit(False), *(inside(p, r) for p, r in sorted(ranges.items()))])
