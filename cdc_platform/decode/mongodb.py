"""MongoDB's change events from Kafka → rows of the changelog.

Invariants
- Pure: the same records and the same table give the same rows. The layout handed from batch to batch saves
  time, nothing else.
- The row's image is the document after the change, or for a delete the one before it, as far as there is one.
- The key is the text Debezium made of ``_id``, unchanged: two texts, two documents.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

import orjson
import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.model import Policy, Records
from cdc_platform.core.ports import Registry
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.decode.decoded import Decoded, Decoder, Rows, Rules, decoded
from cdc_platform.decode.documents import Layout, read_documents
from cdc_platform.decode.envelope import REPAIRS, read_envelopes
from cdc_platform.decode.refusal import Refusal
from cdc_platform.decode.wire import Wire

_EMPTY_DOCUMENT: Final = "{}"

_NO_COLUMNS: Final = pl.Schema()


class MongoDecoder:
    """POSITION's ``seconds`` are whole seconds of ``source.ts_ms``, its ``ord`` is -1 for rows of the initial
    snapshot, its ``total_order`` 0 outside of a transaction."""

    def __init__(self, registry: Registry | None = None) -> None:
        """``registry``: where the schemas of Avro records are."""
        self._keys, self._values = Wire(registry), Wire(registry)

    def __call__(
        self,
        records: Records,
        table: pl.Schema = _NO_COLUMNS,
        rules: Rules | None = None,
        layout: Layout | None = None,
    ) -> Decoded:
        rules, hint = rules or Rules(), layout or Layout()
        if rules.versions.policy is not Compatibility.NONE:
            rules = replace(rules, values=Policy.REFUSE)
        return decoded(records, rules, lambda some: self._rows(some, table, rules, hint))

    def key_of(self, key: bytes | None) -> str | None:
        with suppress(ValueError):
            match orjson.loads(key or b""):
                case {"id": str(text)} | {"payload": {"id": str(text)}}:
                    return text
        return None

    def operation_of(self, value: bytes) -> str | None:
        frame = pl.DataFrame({"row": [0], "key": [b'{"id":"0"}'], "value": [value]})
        events = read_envelopes(frame, len(value) + 100, self._keys, self._values).events
        found: str | None = events["op"][0] if events.height else None
        return found

    def _rows(self, records: Records, table: pl.Schema, rules: Rules, layout: Layout) -> Rows:
        indexed = records.frame.with_row_index("row").filter(pl.col("value").is_not_null())
        envelopes = read_envelopes(indexed, rules.record_bytes, self._keys, self._values)
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
        return Rows(frame, repairs, sorted(bad, key=lambda refusal: refusal.row), documents.layout)


decode: Final[Decoder] = MongoDecoder()


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
