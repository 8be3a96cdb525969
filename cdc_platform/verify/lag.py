"""Lag as it really was: from each change's commit in the source to the lake commit that holds it.

Both times are read from the lake afterwards, so nothing depends on what a writer believed while it ran.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from cdc_platform.core.columns import OFFSET, OPERATION, PARTITION, READ, TIMESTAMP
from cdc_platform.core.model import Lag


def measure(changes: pl.LazyFrame, commits: pl.DataFrame, since: datetime, until: datetime) -> Lag | None:
    """Lag of the changes that the source committed in ``[since, until)``; None if there are none.

    ``changes``: changelog rows. ``commits``: partition, start, end and committed_at of each offset range.
    Rows of a snapshot have no commit time and are left out.
    """
    streamed = changes.filter(
        (pl.col(OPERATION) != READ) & (pl.col(TIMESTAMP) >= since) & (pl.col(TIMESTAMP) < until)
    ).select(pl.col(PARTITION).alias("partition"), pl.col(OFFSET).alias("start"), TIMESTAMP)
    joined = streamed.sort("start").join_asof(
        commits.lazy().select("partition", "start", "committed_at").sort("start"),
        on="start",
        by="partition",
        check_sortedness=False,
    )
    seconds = (pl.col("committed_at") - pl.col(TIMESTAMP)).dt.total_microseconds() / 1e6
    p50, p95, highest = (
        joined.select(seconds.clip(lower_bound=0).alias("s"))
        .select(p50=pl.col("s").quantile(0.5), p95=pl.col("s").quantile(0.95), max=pl.col("s").max())
        .collect()
        .row(0)
    )
    return None if highest is None else Lag(p50, p95, highest)
