"""MongoDB's change events from Kafka → rows of the changelog.

Invariants
- Pure: the same records and the same table give the same rows. The layout handed from batch to batch saves
  time, nothing else.
- Every record becomes one row, a dead letter, or is a tombstone: rows + dead letters + tombstones = records,
  up to the first record that the policy refuses.
- The row's image is the document after the change, or for a delete the one before it, as far as there is one.
- The key is the text Debezium made of ``_id``, unchanged: two texts, two documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Limits, Policy, Records
from cdc_platform.core.offsets import Range, Ranges
from cdc_platform.decode.documents import Layout, read_documents
from cdc_platform.decode.envelope import REPAIRS, read_envelopes
from cdc_platform.decode.refusal import Refusal

_EMPTY_DOCUMENT: Final = "{}"

_NO_COLUMNS: Final = pl.Schema()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source says about records that do not fit. ``record_bytes``: the most a record may have."""

    values: Policy = Policy.JSON
    record_bytes: int = Limits().record_bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """``frame``: KEY, the documents' fields, OPERATION, TIMESTAMP, POSITION, TOPIC, PARTITION, OFFSET, by the
    table's logical types.

    ``letters``: TOPIC, PARTITION, OFFSET, timestamp_ms, key, value, reason, remedy of the dead letters.
    ``repairs``: KEY, PARTITION, OFFSET and repairs of the rows that are deletes of the platform's own, each
    with the offset of the row it deletes. ``tombstones``: records without a value, which Kafka's compaction
    wants and the changelog does not: the delete before them is a row already. ``ranges``: the offsets that
    these stand for, all of the records', or only those before ``refused``, the first record that stops the
    table.
    """

    frame: pl.DataFrame
    letters: pl.DataFrame
    repairs: pl.DataFrame
    tombstones: int
    ranges: Ranges
    layout: Layout
    refused: Terminal | None = None


def decode(
    records: Records,
    table: pl.Schema = _NO_COLUMNS,
    rules: Rules | None = None,
    layout: Layout | None = None,
) -> Decoded:
    """Rows of the changelog, without the two ingestion columns.

    ``table``: the columns that the changelog has, by their logical types. ``layout``: of the previous batch.
    POSITION's ``seconds`` are whole seconds of ``source.ts_ms``, its ``ord`` is -1 for rows of the initial
    snapshot, its ``total_order`` 0 outside of a transaction.
    """
    rules, layout = rules or Rules(), layout or Layout()
    refused: Terminal | None = None
    while True:
        frame, repairs, bad, layout = _rows(records, table, rules, layout)
        if not bad or rules.values is not Policy.REFUSE:
            break
        refused = bad[0].error(records)
        records = _before(records, bad[0].row)
    tombstones = records.frame["value"].null_count()
    return Decoded(frame, _letters(records, bad), repairs, tombstones, records.ranges, layout, refused)


def _rows(
    records: Records, table: pl.Schema, rules: Rules, layout: Layout
) -> tuple[pl.DataFrame, pl.DataFrame, list[Refusal], Layout]:
    """The rows, the repairs among them, the records that cannot be rows, and the next batch's layout."""
    indexed = records.frame.with_row_index("row").filter(pl.col("value").is_not_null())
    envelopes = read_envelopes(indexed, rules.record_bytes)
    events = envelopes.events
    is_delete = pl.col("op") == columns.DELETE
    image = pl.when(is_delete).then("before").otherwise("after").fill_null(_EMPTY_DOCUMENT)
    documents = read_documents(events.select(image=image)["image"], table, rules.values, layout)
    bad = [
        *envelopes.bad,
        *(Refusal(events["row"][at.row], at.what, at.remedy, at.schema) for at in documents.refused),
    ]
    kept = events[documents.rows]
    frame = _assembled(kept, documents.frame, records)
    places = frame.select(columns.KEY, columns.PARTITION, columns.OFFSET)
    repairs = places.with_columns(kept[REPAIRS]).drop_nulls(REPAIRS)
    return frame, repairs, sorted(bad, key=lambda refusal: refusal.row), documents.layout


def _before(records: Records, row: int) -> Records:
    """The records without those from ``row`` on in its partition."""
    partition, offset = records.frame.select("partition", "offset").row(row)
    kept = records.frame.filter((pl.col("partition") != partition) | (pl.col("offset") < offset))
    cut = Range(records.ranges[partition].start, offset)
    return Records(records.stream, kept, {**records.ranges, partition: cut})


def _letters(records: Records, bad: list[Refusal]) -> pl.DataFrame:
    found = records.frame[[refusal.row for refusal in bad]]
    return found.select(
        pl.lit(records.stream.topic).alias(columns.TOPIC),
        pl.col("partition").alias(columns.PARTITION),
        pl.col("offset").alias(columns.OFFSET),
        "timestamp_ms",
        "key",
        "value",
        pl.Series("reason", [refusal.what for refusal in bad], dtype=pl.String),
        pl.Series("remedy", [refusal.remedy for refusal in bad], dtype=pl.String),
    )


def _assembled(events: pl.DataFrame, fields: pl.DataFrame, records: Records) -> pl.DataFrame:
    seconds = pl.col("ts_ms").floordiv(1000)
    position = pl.struct(
        seconds.alias("seconds"), pl.col("ord").fill_null(-1), pl.col("total_order").fill_null(0)
    )
    origin = records.frame[events["row"]]
    metadata = events.select(
        pl.col("key").alias(columns.KEY),
        pl.col("op").alias(columns.OPERATION),
        (pl.col("ts_ms") * 1000).cast(columns.UTC_MICROS).alias(columns.TIMESTAMP),
        position.alias(columns.POSITION),
        pl.lit(records.stream.topic).alias(columns.TOPIC),
        origin["partition"].alias(columns.PARTITION),
        origin["offset"].alias(columns.OFFSET),
    )
    return pl.DataFrame([metadata[columns.KEY], *fields, *metadata.drop(columns.KEY)])
