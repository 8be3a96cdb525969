"""Change events as Debezium's MongoDB connector writes them, of about 770 bytes, and the rows they become."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
import polars as pl

from cdc_platform.core import columns

Document = dict[str, Any]

FIRST_MS = 1_790_000_000_000
CITIES = ("Bern", "Lyon", "Graz", "Oslo", "Turin", "Porto", "Gdańsk", "Malmö")


def order(key: int, rng: Random) -> Document:
    """An order as extended JSON has it: nested customer, a list of items, a price with its digits."""
    return {
        "_id": key,
        "number": f"A-{key:09}",
        "status": rng.choice(("new", "paid", "sent", "returned")),
        "customer": {
            "id": {"$oid": f"{rng.getrandbits(96):024x}"},
            "city": rng.choice(CITIES),
            "vip": key % 7 == 0,
        },
        "items": [
            {
                "sku": f"SKU-{rng.randrange(10_000):05}",
                "quantity": rng.randint(1, 9),
                "price": rng.randint(1, 500) + 0.25,
            }
            for _ in range(2)
        ],
        "total": {"$numberDecimal": f"{rng.randint(1, 9_999)}.{rng.randint(0, 99):02}"},
        "placed": {"$date": FIRST_MS + key},
        "version": {"$numberLong": str(rng.randrange(2**40))},
    }


def event(key: int, operation: str, document: Document | None, at: int) -> tuple[bytes, bytes]:
    """Key and value of the record. ``at``: place in the source's order."""
    value = {
        "before": None,
        "after": None if document is None else orjson.dumps(document).decode(),
        "updateDescription": None,
        "source": {
            "version": "3.4.0.Final",
            "connector": "mongodb",
            "name": "bench",
            "ts_ms": FIRST_MS + at,
            "snapshot": "false",
            "db": "bench",
            "sequence": None,
            "ts_us": (FIRST_MS + at) * 1_000,
            "ts_ns": (FIRST_MS + at) * 1_000_000,
            "collection": "orders",
            "ord": at % 1000 + 1,
            "lsid": None,
            "txnNumber": None,
        },
        "op": operation,
        "ts_ms": FIRST_MS + at + 40,
        "transaction": None,
    }
    return orjson.dumps({"id": str(key)}), orjson.dumps(value)


def inserts(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    rng = Random(seed)
    for key in range(count):
        yield event(key, "c", order(key, rng), key)


def changelog_rows(keys: pl.Series, operations: pl.Series, first_offset: int) -> pl.DataFrame:
    """Rows of one partition at consecutive offsets, ten columns wide besides the platform's."""
    count = len(keys)
    offsets = pl.int_range(first_offset, first_offset + count, eager=True)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return pl.select(
        keys.cast(pl.String).alias(columns.KEY),
        operations.alias(columns.OPERATION),
        pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.TIMESTAMP),
        pl.struct(
            (offsets // 1000 + 1_790_000_000).alias("seconds"),
            (offsets % 1000 + 1).alias("ord"),
            pl.lit(0, dtype=pl.Int64).alias("total_order"),
        ).alias(columns.POSITION),
        pl.lit("bench.bench.orders").alias(columns.TOPIC),
        pl.lit(0, dtype=pl.Int32).alias(columns.PARTITION),
        offsets.alias(columns.OFFSET),
        pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.INGESTED),
        pl.lit(now.date()).alias(columns.INGESTED_ON),
        keys.alias("_id"),
        (offsets % 97).alias("quantity"),
        (offsets * 1.25).alias("amount"),
        pl.format("A-{}", keys).alias("number"),
        pl.format("status {}", offsets % 5).alias("status"),
        (offsets % 3 == 0).alias("vip"),
        pl.format("customer {}", keys % 1000).alias("customer"),
        pl.format("city {}", keys % 50).alias("city"),
        pl.lit(now, dtype=columns.UTC_MICROS).alias("placed"),
        pl.format("a remark of some length about order {}", keys).alias("remark"),
    )
