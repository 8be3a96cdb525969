"""Names and types of the columns the platform adds to every row.

A document that has a field of one of these names is refused: its value would be overwritten.
"""

from __future__ import annotations

from typing import Final

import polars as pl

KEY: Final = "_key"
OPERATION: Final = "_cdc_operation"
TIMESTAMP: Final = "_cdc_timestamp"
POSITION: Final = "_cdc_position"
TOPIC: Final = "_kafka_topic"
PARTITION: Final = "_kafka_partition"
OFFSET: Final = "_kafka_offset"
INGESTED: Final = "_ingestion_timestamp"
INGESTED_ON: Final = "_ingestion_date"

CREATE, UPDATE, DELETE, READ = "c", "u", "d", "r"
OPERATIONS: Final = (CREATE, UPDATE, DELETE, READ)

UTC_MICROS: Final = pl.Datetime("us", "UTC")
MONGODB_POSITION: Final = pl.Struct({"seconds": pl.Int64, "ord": pl.Int64, "total_order": pl.Int64})

METADATA: Final = pl.Schema(
    {
        KEY: pl.String(),
        OPERATION: pl.String(),
        TIMESTAMP: UTC_MICROS,
        POSITION: MONGODB_POSITION,
        TOPIC: pl.String(),
        PARTITION: pl.Int32(),
        OFFSET: pl.Int64(),
        INGESTED: UTC_MICROS,
        INGESTED_ON: pl.Date(),
    }
)
"""Every changelog and current row carries these. ``_key`` is the source key as canonical JSON text with its
BSON type, so that 1 and "1" are two keys. ``_cdc_timestamp`` is the source's commit time. ``_cdc_position``
orders events of one source; its ``ord`` is -1 for rows of an initial snapshot, which have no position."""

MEANINGS: Final = {
    KEY: 'The document\'s _id as canonical JSON, with its type: 1 and "1" are two keys.',
    OPERATION: "c inserted, u updated, d deleted, r read by a snapshot.",
    TIMESTAMP: "When the source committed the change.",
    POSITION: "Cluster time (seconds, order within the second) and order within the transaction.",
    TOPIC: "The topic the event was read from.",
    PARTITION: "The partition the event was read from.",
    OFFSET: "The event's offset in its partition.",
    INGESTED: "When the row was written.",
    INGESTED_ON: "The day the row was written, in UTC.",
}
"""What each column holds, for people."""
