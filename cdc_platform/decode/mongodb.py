"""MongoDB's change events from Kafka → rows of the changelog.

Invariants
- Pure: the same records give the same rows. The layout handed from batch to batch saves time, nothing else.
- Every record that is not a tombstone becomes one row, in the records' order, or the first that cannot is
  refused with its topic, partition and offset. rows + tombstones = records.
- The row's image is the document after the change, or for a delete the one before it, as far as there is one.
- The key is the text Debezium made of ``_id``, unchanged: two texts, two documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from cdc_platform.core import columns
from cdc_platform.core.columns import METADATA
from cdc_platform.core.model import Records
from cdc_platform.decode.documents import Misfit, read_documents
from cdc_platform.decode.envelope import read_envelopes
from cdc_platform.decode.lines import NOTHING
from cdc_platform.decode.refusal import Refusal

_EMPTY_DOCUMENT: Final = "{}"

_AGAIN: Final = "then take a new snapshot into a new topic"
_ONE_TYPE: Final = f"give the field one type in all documents of the source, {_AGAIN}"
_RENAME: Final = f"rename the field in the source, {_AGAIN}"
_CONNECTOR: Final = f"let only Debezium's MongoDB connector write to this topic, {_AGAIN}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the last batch's documents were laid out, for the parser. Losing it costs one slower batch."""

    schema: pa.Schema = NOTHING


@dataclass(frozen=True, slots=True)
class Decoded:
    """``frame``: KEY, the documents' fields, OPERATION, TIMESTAMP, POSITION, TOPIC, PARTITION, OFFSET.

    ``tombstones``: records without a value, which Kafka's compaction wants and the changelog does not: the
    delete before them is a row already.
    """

    frame: pl.DataFrame
    tombstones: int
    layout: Layout


def decode(records: Records, layout: Layout | None = None) -> Decoded:
    """Rows of the changelog, without the two ingestion columns.

    ``layout``: of the previous batch. POSITION's ``seconds`` are whole seconds of ``source.ts_ms``, its
    ``ord`` is -1 for rows of the initial snapshot, its ``total_order`` 0 outside of a transaction. Columns of
    List(Null) or Struct({}) have values whose type this batch does not tell (``core.schema`` settles them).
    Raises EventRefused for a record that is no complete change event, SchemaRefused for a document that does
    not fit those before it, each for the first such record.
    """
    hint = (layout or Layout()).schema
    result = _decode(records, hint)
    if isinstance(result, Decoded):
        return result
    # A later stage may find fault with an earlier record, so look again at what lies before.
    while isinstance(earlier := _decode(_head(records, result.row), hint), Refusal):
        result = earlier
    raise result.error(records)


def _head(records: Records, rows: int) -> Records:
    return Records(records.stream, records.frame.head(rows), records.ranges)


def _decode(records: Records, hint: pa.Schema) -> Decoded | Refusal:
    indexed = records.frame.with_row_index("row").filter(pl.col("value").is_not_null())
    rows = indexed["row"]
    events = read_envelopes(indexed)
    if isinstance(events, Refusal):
        return _at(rows, events)
    is_delete = pl.col("op") == columns.DELETE
    image = pl.when(is_delete).then("before").otherwise("after").fill_null(_EMPTY_DOCUMENT)
    documents = read_documents(events.select(image=image)["image"], hint)
    if isinstance(documents, Misfit):
        remedy = _ONE_TYPE if documents.typed else _CONNECTOR
        return _at(rows, Refusal(documents.row, documents.reason, remedy, schema=documents.typed))
    if taken := [name for name in documents.frame.columns if name in METADATA]:
        row = documents.frame[taken[0]].is_not_null().arg_max() or 0
        what = f"the document's field {taken[0]} has a name that the platform gives its own column"
        return _at(rows, Refusal(row, what, _RENAME, schema=True))
    frame = _assembled(events, documents.frame, indexed, records.stream.topic)
    return Decoded(frame, len(records.frame) - len(frame), Layout(documents.layout))


def _at(rows: pl.Series, refusal: Refusal) -> Refusal:
    """The refusal of row i of the events as that of the record it came from."""
    return Refusal(rows[refusal.row], refusal.what, refusal.remedy, refusal.schema)


def _assembled(events: pl.DataFrame, fields: pl.DataFrame, records: pl.DataFrame, topic: str) -> pl.DataFrame:
    seconds = pl.col("ts_ms").floordiv(1000)
    position = pl.struct(
        seconds.alias("seconds"), pl.col("ord").fill_null(-1), pl.col("total_order").fill_null(0)
    )
    metadata = events.select(
        pl.col("key").alias(columns.KEY),
        pl.col("op").alias(columns.OPERATION),
        (pl.col("ts_ms") * 1000).cast(columns.UTC_MICROS).alias(columns.TIMESTAMP),
        position.alias(columns.POSITION),
        pl.lit(topic).alias(columns.TOPIC),
        records["partition"].alias(columns.PARTITION),
        records["offset"].alias(columns.OFFSET),
    )
    return pl.DataFrame([metadata[columns.KEY], *fields, *metadata.drop(columns.KEY)])
