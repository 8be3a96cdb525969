"""Names and types of the columns the platform adds to every row.

A document's field of one of these names has no column of its own; it goes into ``OTHERS``, if the source's
policy is to keep what does not fit.
"""

from __future__ import annotations

from typing import Final

import polars as pl

KEY: Final = "_key"
OPERATION: Final = "_cdc_operation"
TIMESTAMP: Final = "_cdc_timestamp"
POSITION: Final = "_cdc_position"
RESENT: Final = "_cdc_resent"
TOPIC: Final = "_kafka_topic"
PARTITION: Final = "_kafka_partition"
OFFSET: Final = "_kafka_offset"
INGESTED: Final = "_ingestion_timestamp"
INGESTED_ON: Final = "_ingestion_date"

JSON_SUFFIX: Final = "__json"
"""``price__json`` holds, as canonical extended JSON text, the values of field ``price`` that do not fit its
column. At every level: beside the field, in the same document."""

OTHERS: Final = "_others"
"""Fields whose names cannot be columns, as one JSON object of canonical extended JSON. At every level."""

PLATFORM: Final = "cdc-platform"
"""The connector, as events name it that the platform itself writes into a topic (``reconcile``)."""

CREATE, UPDATE, DELETE, READ, TRUNCATE = "c", "u", "d", "r", "t"
OPERATIONS: Final = (CREATE, UPDATE, DELETE, READ)

UTC_MICROS: Final = pl.Datetime("us", "UTC")
METADATA: Final = pl.Schema(
    {
        KEY: pl.String(),
        OPERATION: pl.String(),
        TIMESTAMP: UTC_MICROS,
        POSITION: pl.Struct({"seconds": pl.Int64, "ord": pl.Int64, "total_order": pl.Int64}),
        RESENT: pl.Boolean(),
        TOPIC: pl.String(),
        PARTITION: pl.Int32(),
        OFFSET: pl.Int64(),
        INGESTED: UTC_MICROS,
        INGESTED_ON: pl.Date(),
    }
)
"""Every changelog and current row carries these. ``_key`` is the source key as canonical JSON text: of
MongoDB with its BSON type, so that 1 and "1" are two keys; of a database with tables an object of the key's
columns; null in the changelog of a table without a key, and for a truncation. ``_cdc_timestamp`` is the
source's commit time. ``_cdc_position`` orders events of one source; its type is that of the engine (here
MongoDB's; ``core.position.metadata`` has the others). ``_cdc_resent`` is true for an event that an earlier
row of the changelog holds already; no current row is one."""

DEAD_LETTERS: Final = pl.Schema(
    {
        TOPIC: pl.String(),
        PARTITION: pl.Int32(),
        OFFSET: pl.Int64(),
        "timestamp_ms": pl.Int64(),
        "key": pl.Binary(),
        "value": pl.Binary(),
        "reason": pl.String(),
        "remedy": pl.String(),
        "revision": pl.Int32(),
        "state": pl.String(),
        "note": pl.String(),
        "at": UTC_MICROS,
    }
)
"""A row per event in a letter's life; of the rows with one partition and offset, the highest ``revision``
tells its state. Revision 0 has the record's bytes and why it was refused, later ones a note."""

SCHEMAS: Final = pl.Schema(
    {
        "number": pl.Int64(),
        "fingerprint": pl.String(),
        "state": pl.String(),
        "schema": pl.String(),
        "changes": pl.String(),
        PARTITION: pl.Int32(),
        OFFSET: pl.Int64(),
        "at": UTC_MICROS,
    }
)
"""The history of a table's schema: a row a version, and one more for what became of it. ``schema``: its
columns and key as JSON (``core.row_schema``). PARTITION and OFFSET are of its first event."""

OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"
"""States of a dead letter."""

MEANINGS: Final = {
    KEY: "The source key as canonical JSON: MongoDB's _id with its type, or an object of the key's columns.",
    OPERATION: "c inserted, u updated, d deleted, r read by a snapshot, t truncated.",
    TIMESTAMP: "When the source committed the change.",
    POSITION: "Place in the source's history (cluster time, LSN, GTID) and order within the transaction.",
    RESENT: "Whether the connector sent an event again that an earlier row of the changelog holds.",
    TOPIC: "The topic the event was read from.",
    PARTITION: "The partition the event was read from.",
    OFFSET: "The event's offset in its partition.",
    INGESTED: "When the row was written.",
    INGESTED_ON: "The day the row was written, in UTC.",
}
"""What each column holds, for people."""
