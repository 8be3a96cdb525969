"""A commit of rows and offsets to one lake table, and the receipt of what it did.

Invariant: rows in = rows applied + rows superseded + dead letters, for every commit.
"""

from __future__ import annotations

from datetime import datetime

import orjson
import polars as pl

from cdc_platform.core import columns, schema
from cdc_platform.core.model import Handle, Kind, Lag, Receipt
from cdc_platform.core.offsets import NOWHERE, RANGES, Positions, Ranges, describe
from cdc_platform.decode.fold import once
from cdc_platform.replicate.growth import unheard_of
from cdc_platform.replicate.replica import Replica


def commit(
    replica: Replica,
    kind: Kind,
    handle: Handle,
    rows: pl.DataFrame,
    advance: Ranges,
    rows_in: int,
    dead: int = 0,
    positions: Positions = NOWHERE,
) -> Receipt:
    started = replica.now()
    applied = dict(rows.group_by(columns.OPERATION).len().sort(columns.OPERATION).iter_rows())
    before = _lag(rows, started)
    info = {
        RANGES: describe(advance),
        "cdc.rows": orjson.dumps({"in": rows_in, "applied": applied, "dead": dead}).decode(),
        "cdc.lag_seconds": orjson.dumps(before and [before.p50, before.p95, before.max]).decode(),
    }
    replica.probe(f"before_commit:{kind}")
    ranges = {**unheard_of(replica, handle), **advance}
    if kind is Kind.CHANGELOG:
        committed = replica.changelog.append(handle, rows, ranges, info, positions)
    else:
        committed = replica.current.merge(handle, rows, ranges, info)
    replica.probe(f"after_commit:{kind}")
    finished = replica.now()
    return Receipt(
        table=replica.name,
        kind=kind,
        version=committed.version,
        ranges=advance,
        rows_in=rows_in,
        applied=applied,
        superseded=rows_in - rows.height - dead,
        committed_at=finished,
        seconds=(finished - started).total_seconds(),
        lag=_lag(rows, finished),
        added=tuple(name for name in committed.schema if name not in handle.schema),
        dead=dead,
        format=replica.format,
    )


def fit(table: pl.Schema, rows: pl.DataFrame, replica: Replica) -> pl.DataFrame:
    """The rows with the table's columns and the new ones, every value as it came, or SchemaRefused."""
    return schema.fit(rows, table, where=f"table {replica.name}")


def _lag(rows: pl.DataFrame, now: datetime) -> Lag | None:
    """Seconds since the source's commit of each row, never negative.

    None without such rows: a row read by a snapshot was committed at a time that nobody knows, and what is
    sent again is late by no fault of the lake.
    """
    streamed = rows.filter((pl.col(columns.OPERATION) != columns.READ) & once())
    seconds = (
        (pl.lit(now, dtype=columns.UTC_MICROS) - pl.col(columns.TIMESTAMP)).dt.total_microseconds() / 1e6
    ).clip(lower_bound=0)
    p50, p95, highest = streamed.select(
        p50=seconds.quantile(0.5), p95=seconds.quantile(0.95), max=seconds.max()
    ).row(0)
    return None if highest is None else Lag(p50, p95, highest)
