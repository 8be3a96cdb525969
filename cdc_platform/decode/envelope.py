"""Debezium's envelope: the bytes of a record's key and value as columns.

Source: Debezium's MongoDB connector 3.4 with Connect's JsonConverter, ``schemas.enable=false``:

    key    {"id": "<extended JSON of _id>"}
    value  {"before": "<document>" | null, "after": "<document>" | null, "op": "c" | "u" | "d" | "r",
            "source": {"ts_ms": 1, "ord": 1, …}, "transaction": null | {"total_order": 1, …}, …}

Invariant: every record is an event with key, operation and position, and, unless it is a delete, the document
after it; or the first that is not is refused. Skipping it would lose a change without a trace.
"""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa
from polars.exceptions import ComputeError

from cdc_platform.core.columns import DELETE, OPERATIONS, READ
from cdc_platform.core.schema import first_offender
from cdc_platform.decode.lines import Unreadable, parse_as
from cdc_platform.decode.refusal import Refusal

_KEY: Final = pa.schema([("id", pa.string())])
_VALUE: Final = pa.schema(
    [
        ("op", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("source", pa.struct([("ts_ms", pa.int64()), ("ord", pa.int64())])),
        ("transaction", pa.struct([("total_order", pa.int64())])),
    ]
)
_CONVERTER: Final = (
    "let only Debezium's MongoDB connector write to this topic, with Connect's JsonConverter and "
    "schemas.enable=false for keys and values; then take a new snapshot into a new topic"
)
_IMAGES: Final = (
    "turn changeStreamPreAndPostImages on for the collection, set the connector's capture.mode to "
    "change_streams_update_full_with_pre_image with post images, then take a new snapshot"
)


def read_envelopes(records: pl.DataFrame) -> pl.DataFrame | Refusal:
    """Columns key, op, before, after (String), ts_ms, ord, total_order (Int64), a row a record.

    ``records``: in RECORD_SCHEMA, no value null. ``ts_ms`` is the source's time, ``ord`` the place within its
    second and -1 for a row of the initial snapshot, ``total_order`` the place in its transaction or null.
    """
    keys = _parsed(records["key"], _KEY, "key")
    if isinstance(keys, Refusal):
        return keys
    values = _parsed(records["value"], _VALUE, "value")
    if isinstance(values, Refusal):
        return values
    events = values.select(
        keys["id"].alias("key"),
        "op",
        "before",
        "after",
        pl.col("source").struct.field("ts_ms", "ord"),
        pl.col("transaction").struct.field("total_order"),
    )
    return _first_unsound(events) or events


def _parsed(texts: pl.Series, schema: pa.Schema, part: str) -> pl.DataFrame | Refusal:
    table = _parse(texts, schema)
    if isinstance(table, Unreadable):
        row = first_offender(
            len(texts), lambda count: isinstance(_parse(texts.head(count), schema), pa.Table)
        )
        alone = _parse(texts.slice(row, 1), schema)
        reason = alone.reason if isinstance(alone, Unreadable) else table.reason
        return Refusal(row, f"the {part} is no change event's: {reason}", _CONVERTER)
    return pl.DataFrame(table)


def _parse(texts: pl.Series, schema: pa.Schema) -> pa.Table | Unreadable:
    if texts.has_nulls():
        return Unreadable("it is missing")
    try:
        decoded = texts.cast(pl.String)
    except ComputeError:
        return Unreadable("not UTF-8")
    return parse_as(decoded, schema, others="ignore")


def _first_unsound(events: pl.DataFrame) -> Refusal | None:
    op = pl.col("op")
    what = (
        pl.when(pl.col("key").is_null())
        .then(pl.lit("the key has no id"))
        .when(op.is_null())
        .then(pl.lit("the value has no op: not a Debezium envelope"))
        .when(~op.is_in(OPERATIONS))
        .then(pl.format("the operation {} is not known", op))
        .when(pl.col("ts_ms").is_null() | (pl.col("ord").is_null() & (op != READ)))
        .then(pl.lit("the source position (source.ts_ms, source.ord) is missing"))
        .when(pl.col("after").is_null() & (op != DELETE))
        .then(pl.lit("the document after the change is missing"))
    )
    unsound = events.select(what=what).with_row_index("row").drop_nulls().head(1)
    if unsound.is_empty():
        return None
    row, reason = unsound.row(0)
    return Refusal(row, reason, _IMAGES if "document" in reason else _CONVERTER)
