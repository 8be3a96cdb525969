"""Changelog rows for tests, as a decoder would make them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from cdc_platform.core.columns import (
    CREATE,
    INGESTED,
    INGESTED_ON,
    KEY,
    METADATA,
    OFFSET,
    OPERATION,
    PARTITION,
    POSITION,
    TIMESTAMP,
    TOPIC,
)
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Stream
from cdc_platform.core.schema import fit

STREAM = Stream("cluster", "shop.shop.orders", "uuid-1", 3)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

Row = dict[str, Any]


def row(partition: int, offset: int, key: str, operation: str = CREATE, **fields: Any) -> Row:
    """One change with all metadata; ``fields`` are the document's."""
    return {
        KEY: key,
        OPERATION: operation,
        TIMESTAMP: NOW,
        POSITION: {"seconds": 1_700_000_000, "ord": offset, "total_order": -1},
        TOPIC: STREAM.topic,
        PARTITION: partition,
        OFFSET: offset,
        INGESTED: NOW,
        INGESTED_ON: date(2026, 11, 1),
        **fields,
    }


def frame(rows: Iterable[Row], **types: Any) -> pl.DataFrame:
    """Metadata columns first, then the fields, with inferred types where none is given."""
    rows = list(rows)
    names = dict.fromkeys(name for each in rows for name in each)
    schema = {name: METADATA.get(name, types.get(name)) for name in {**METADATA, **names}}
    return pl.DataFrame([{n: each.get(n) for n in schema} for each in rows], schema=schema)


def fitted(handle: Handle, rows: Iterable[Row], **types: Any) -> pl.DataFrame:
    """The rows with the table's columns, as every writer hands them over."""
    return fit(frame(rows, **types), handle.logical, where="test")
