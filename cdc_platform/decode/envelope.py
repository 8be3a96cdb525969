"""Debezium's envelope: the bytes of a record's key and value as columns.

Source: Debezium's MongoDB connector 3.4 with Connect's JsonConverter, ``schemas.enable=false``:

    key    {"id": "<extended JSON of _id>"}
    value  {"before": "<document>" | null, "after": "<document>" | null, "op": "c" | "u" | "d" | "r",
            "source": {"ts_ms": 1, "ord": 1, …}, "transaction": null | {"total_order": 1, …}, …}

Invariant: every record is an event with key, operation and position, and, unless it is a delete, the document
after it; or it is refused, by itself, and named. Skipping it would lose a change without a trace.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
from polars.exceptions import ComputeError

from cdc_platform.core.columns import DELETE, OPERATIONS, READ
from cdc_platform.decode.lines import Unreadable, parse_as
from cdc_platform.decode.positions import struct_field
from cdc_platform.decode.refusal import Refusal, sift
from cdc_platform.decode.wire import Wire

REPAIRS: Final = "repairs"
ENVELOPE: Final = frozenset({"before", "after", "op", "source"})
_SCHEMA: Final = b'{"schema":{'
_NO_ID: Final = pl.lit(None, dtype=pl.String).alias("key")
_KEY: Final = pa.schema([("id", pa.string())])
_VALUE: Final = pa.schema(
    [
        ("op", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("source", pa.struct([("ts_ms", pa.int64()), ("ord", pa.int64()), (REPAIRS, pa.int64())])),
        ("transaction", pa.struct([("total_order", pa.int64())])),
    ]
)
_CONVERTER: Final = (
    "let only Debezium's MongoDB connector write to this topic, with Connect's JsonConverter and "
    "schemas.enable=false for keys and values, and without a transform that flattens the event "
    "(ExtractNewDocumentState)"
)
_IMAGES: Final = (
    "turn changeStreamPreAndPostImages on for the collection, set the connector's capture.mode to "
    "change_streams_update_full_with_pre_image with post images, then take a new snapshot"
)
_SMALLER: Final = "raise limits.record_bytes of the source, then replay the letter"
_AVRO: Final = "an Avro or JSON Schema record of Confluent's wire format, not plain JSON"


@dataclass(frozen=True, slots=True)
class Envelopes:
    """``events``: columns row (index in the records), key, op, before, after (String), ts_ms, ord,
    total_order, repairs (Int64). ``ts_ms`` is the source's time, ``ord`` the place within its second and -1
    for a row of the initial snapshot, ``total_order`` the place in its transaction or null. ``repairs``: of a
    delete that the platform itself wrote (``reconcile``), the offset of the row that it deletes. ``bad``: the
    other records.
    """

    events: pl.DataFrame
    bad: tuple[Refusal, ...]


def read_envelopes(records: pl.DataFrame, record_bytes: int, keys: Wire, values: Wire) -> Envelopes:
    """``records``: in RECORD_SCHEMA and with a column row, no value null. ``record_bytes``: the most a record
    may have. ``keys``, ``values``: read those that come with a schema."""
    kept, bad = oversized(records, record_bytes)
    value = pl.col("value")
    described = value.bin.starts_with(b"\0") | value.bin.starts_with(_SCHEMA)
    parts = [
        _plain(kept.filter(~described), bad),
        _described(kept.filter(described), keys, values, bad),
    ]
    events = pl.concat([each for each in parts if each.height] or parts[:1]).sort("row")
    unsound = events.select("row", what=_unsound()).drop_nulls()
    bad += [
        Refusal(row, what, _IMAGES if "document" in what else _CONVERTER) for row, what in unsound.iter_rows()
    ]
    return Envelopes(events.filter(~pl.col("row").is_in(unsound["row"].implode())), tuple(bad))


def _described(records: pl.DataFrame, keys: Wire, values: Wire, bad: list[Refusal]) -> pl.DataFrame:
    """Events in Avro, or in JSON with its schema: the documents in them are the same texts."""
    events = []
    for read in values.read("value", records["row"], records["value"], bad):
        if missing := ENVELOPE - set(read.frame.columns):
            bad += [Refusal(row, without(missing), _CONVERTER) for row in read.rows]
            continue
        source = (struct_field(read.frame.schema, "source", name) for name in ("ts_ms", "ord", REPAIRS))
        total_order = struct_field(read.frame.schema, "transaction", "total_order")
        events.append(
            read.frame.select(read.rows.alias("row"), "op", "before", "after", *source, total_order)
        )
    if not events:
        return pl.DataFrame()
    found = pl.concat(events)
    ids = _ids(records.filter(pl.col("row").is_in(found["row"].implode())), keys, bad)
    return found.join(ids, on="row").select("row", "key", pl.exclude("row", "key"))


def _ids(records: pl.DataFrame, keys: Wire, bad: list[Refusal]) -> pl.DataFrame:
    """The text of each record's key, by row."""
    described = (pl.col("key").bin.starts_with(b"\0") | pl.col("key").bin.starts_with(_SCHEMA)).fill_null(
        value=False
    )
    with_schema = records.filter(described)
    kept, plain = _parsed(records.filter(~described), "key", _KEY, bad)
    ids = [pl.DataFrame({"row": kept["row"], "key": plain["id"]})]
    for read in keys.read("key", with_schema["row"], with_schema["key"], bad):
        known = "id" in read.frame.columns
        ids.append(read.frame.select(read.rows.alias("row"), pl.col("id").alias("key") if known else _NO_ID))
    return pl.concat(ids)


def without(missing: Set[str]) -> str:
    """What is wrong with a value that has no such fields."""
    return f"the value has no {', '.join(sorted(missing))}: not a Debezium envelope"


def _plain(kept: pl.DataFrame, bad: list[Refusal]) -> pl.DataFrame:
    """Events in JSON without a schema."""
    kept, keys = _parsed(kept, "key", _KEY, bad)
    kept, values = _parsed(kept, "value", _VALUE, bad)
    return values.select(
        kept["row"],
        keys.filter(keys["row"].is_in(kept["row"].implode()))["id"].alias("key"),
        "op",
        "before",
        "after",
        pl.col("source").struct.field("ts_ms", "ord", REPAIRS),
        pl.col("transaction").struct.field("total_order"),
    )


def oversized(
    records: pl.DataFrame, record_bytes: int, row: str = "row"
) -> tuple[pl.DataFrame, list[Refusal]]:
    """The records without those of more than ``record_bytes``, and those. ``row``: the column of indexes."""
    sized = records.with_columns(size=pl.col("value").bin.size() + pl.col("key").bin.size().fill_null(0))
    large = sized.filter(pl.col("size") > record_bytes).select(row, "size")
    bad = [
        Refusal(at, f"the record has {size} bytes, more than {record_bytes}", _SMALLER)
        for at, size in large.iter_rows()
    ]
    return sized.filter(pl.col("size") <= record_bytes).drop("size"), bad


def _parsed(
    records: pl.DataFrame, part: str, schema: pa.Schema, bad: list[Refusal]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records whose part parses, and that part's fields with the row; the others are added to ``bad``."""
    texts = records[part]
    table = _parse(texts, schema)
    if isinstance(table, Unreadable):
        faults = dict(sift(len(texts), lambda start, stop: _fault(texts[start:stop], schema)))
        bad += [
            Refusal(records["row"][at], f"the {part} is no change event's: {reason}", _CONVERTER)
            for at, reason in faults.items()
        ]
        records = records[[at for at in range(len(texts)) if at not in faults]]
        table = _parse(records[part], schema)
        assert isinstance(table, pa.Table)
    return records, pl.DataFrame(table).with_columns(records["row"])


def _fault(texts: pl.Series, schema: pa.Schema) -> str | None:
    table = _parse(texts, schema)
    return table.reason if isinstance(table, Unreadable) else None


def _parse(texts: pl.Series, schema: pa.Schema) -> pa.Table | Unreadable:
    if texts.has_nulls():
        return Unreadable("it is missing")
    try:
        decoded = texts.cast(pl.String)
    except ComputeError:
        return Unreadable(_AVRO if len(texts) == 1 and texts[0][:1] == b"\0" else "not UTF-8")
    if len(texts) == 1 and texts[0][:1] == b"\0":
        return Unreadable(_AVRO)
    return parse_as(decoded, schema, others="ignore")


def _unsound() -> pl.Expr:
    """What an event lacks, null for a sound one."""
    op = pl.col("op")
    return (
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
