"""Change events as Debezium's MongoDB connector writes them, for tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson
import polars as pl

from cdc_platform.core.model import RECORD_SCHEMA, Records
from cdc_platform.core.offsets import Range, Stream

STREAM = Stream("cluster", "shop.orders", "topic-id", 3)


@dataclass(frozen=True, slots=True)
class Event:
    """``before`` and ``after`` are texts; ``key`` and ``value`` replace the whole bytes if given."""

    after: str | None = "{}"
    before: str | None = None
    op: str | None = "c"
    id: str | None = "1"
    ts_ms: int | None = 1_700_000_000_123
    ord: int | None = 1
    total_order: int | None = None
    partition: int = 0
    offset: int = 0
    key: bytes | None = b""
    value: bytes | None = b""

    @property
    def key_bytes(self) -> bytes | None:
        return orjson.dumps({"id": self.id}) if self.key == b"" else self.key

    @property
    def value_bytes(self) -> bytes | None:
        if self.value != b"":
            return self.value
        transaction = {"id": "t", "total_order": self.total_order, "data_collection_order": 1}
        return orjson.dumps(
            {
                "before": self.before,
                "after": self.after,
                "updateDescription": None,
                "source": {
                    "version": "3.4.0.Final",
                    "ts_ms": self.ts_ms,
                    "snapshot": "false",
                    "ord": self.ord,
                },
                "op": self.op,
                "ts_ms": 1_700_000_000_999,
                "transaction": transaction if self.total_order else None,
            }
        )


def records(*events: Event) -> Records:
    rows = [(e.partition, e.offset, 0, e.key_bytes, e.value_bytes) for e in events]
    frame = pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row")
    return Records(STREAM, frame, {0: Range(0, len(events))})


def documents(*texts: str) -> Records:
    """Creations of these documents at offsets 0, 1, …"""
    return records(*(replace(Event(text), offset=i, id=str(i)) for i, text in enumerate(texts)))
