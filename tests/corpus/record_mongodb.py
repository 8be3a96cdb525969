"""Record the corpus again: what the real Debezium writes to the real Kafka for changes of a real MongoDB.

    PYTHONPATH=. python -m tests.corpus.record_mongodb

One file a collection under ``mongodb/``, one record a line, ordered by partition and offset:
``{"partition": int, "offset": int, "key": text, "value": text}``. Texts are the record's bytes as UTF-8,
exactly. Times, positions and generated ids differ from one recording to the next; their form does not.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from pymongo import MongoClient
from pymongo.collection import Collection

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import deploy
from cdc_platform.connect.status import Progress
from cdc_platform.core.source import Source
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
from tests.stack.conftest import eventually
from tests.stack.topics import Record, read

CORPUS = Path(__file__).parent / "mongodb"

Documents = Collection[dict[str, Any]]

OBJECT_ID = ObjectId("65a000000000000000000001")
UUID = Binary.from_uuid(uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"))

KEYS: tuple[Any, ...] = (
    1,
    Int64(1),
    1.0,
    1.5,
    -0.0,
    Int64(2**53 + 1),
    "1",
    'a "quoted" \\ key/ß€😀',
    "",
    OBJECT_ID,
    True,
    None,
    Decimal128("1.10"),
    UUID,
    Binary(b"\x00\xff", 0),
    datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
    Timestamp(1, 2),
    float("nan"),
    {"a": 1, "b": "x"},
    {"b": "x", "a": 1},
    {"a": {"b": OBJECT_ID, "c": Int64(1)}},
    {},
)
NUMBERS: dict[str, Any] = {
    "int32": 7,
    "int32_min": -(2**31),
    "int64": Int64(7),
    "int64_max": Int64(2**63 - 1),
    "int64_min": Int64(-(2**63)),
    "double": 1.5,
    "double_whole": 3.0,
    "double_large": 1e300,
    "double_small": 5e-324,
    "negative_zero": -0.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "negative_infinity": float("-inf"),
    "decimal": Decimal128("12345678901234567890.123456789"),
    "decimal_exponent": Decimal128("1E+6000"),
    "decimal_nan": Decimal128("NaN"),
    "decimal_infinity": Decimal128("-Infinity"),
}
DATES: dict[str, Any] = {
    "now": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "epoch": datetime(1970, 1, 1, tzinfo=UTC),
    "before_1970": datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    "year_1": DatetimeMS(-62_135_596_800_000),
    "after_2262": DatetimeMS(9_300_000_000_000),
    "year_10000": DatetimeMS(253_402_300_800_000),
    "smallest": DatetimeMS(-(2**63)),
    "largest": DatetimeMS(2**63 - 1),
    "timestamp": Timestamp(1_700_000_000, 5),
}
OTHERS: dict[str, Any] = {
    "null": None,
    "bool": True,
    "text": 'ß€😀 "quoted" \\ / \n \t \x00 end',
    "empty": "",
    "object_id": OBJECT_ID,
    "binary": Binary(b"\x00\x01\xff", 0),
    "binary_user": Binary(b"\x80", 0x80),
    "uuid": UUID,
    "regex": Regex("^a/b.*$", "im"),
    "code": Code("return 1"),
    "code_scope": Code("return x", {"x": 1}),
    "dbref": DBRef("orders", 1),
    "min": MinKey(),
    "max": MaxKey(),
    "looks_like_date": {"date": 5},
}
NESTED: dict[str, Any] = {
    "customer": {"name": "Ann", "address": {"city": "Bern", "zip": Int64(3000), "since": DATES["now"]}},
    "empty": {},
    "none": {"a": None},
    "Case": 1,
    "case": 2,
    "with space": 3,
}
ARRAYS: dict[str, Any] = {
    "ints": [1, 2, 3],
    "longs": [Int64(1), Int64(2**40)],
    "mixed": [1, "1", 1.0, None, True, OBJECT_ID, {"a": 1}, [1]],
    "documents": [{"sku": "a", "n": 1}, {"sku": "b", "price": Decimal128("1.20")}],
    "nested": [[1, 2], [], [[3]]],
    "empty": [],
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """``change`` makes ``events`` events. ``first`` puts in what the snapshot finds, an event a document."""

    change: Callable[[Documents], object]
    events: int
    first: tuple[dict[str, Any], ...] = ()


def update(orders: Documents) -> None:
    orders.insert_one({"_id": 1, "n": 1, "gone": "x", "deep": {"a": 1, "b": 2}})
    orders.update_one({"_id": 1}, {"$set": {"n": 2, "deep.a": Int64(9)}, "$unset": {"gone": ""}})
    orders.update_one({"_id": 1}, {"$push": {"list": {"$each": [1, 2, 3]}}})
    orders.update_one({"_id": 1}, {"$pop": {"list": 1}})


def replace(orders: Documents) -> None:
    orders.insert_one({"_id": 1, "n": 1, "old": True})
    orders.replace_one({"_id": 1}, {"n": 2, "new": True})


def delete(orders: Documents) -> None:
    orders.insert_one({"_id": 1, "n": 1})
    orders.delete_one({"_id": 1})
    orders.insert_one({"_id": 1, "n": 2})


def keys(orders: Documents) -> None:
    for key in KEYS:
        orders.replace_one({"_id": key}, {"_id": key}, upsert=True)
        orders.delete_one({"_id": key})


def change_type(orders: Documents) -> None:
    orders.insert_one({"_id": 1, "value": 1})
    for value in (Int64(2), 2.5, "2", {"a": 2}, [2], None):
        orders.update_one({"_id": 1}, {"$set": {"value": value}})


def transaction(orders: Documents) -> None:
    with orders.database.client.start_session() as session, session.start_transaction():
        orders.insert_one({"_id": 1, "n": 1}, session=session)
        orders.insert_one({"_id": 2, "n": 2}, session=session)


def without_images(orders: Documents) -> None:
    """What comes when somebody switches the images off under a running connector."""
    orders.insert_one({"_id": 1, "n": 1})
    orders.database.command({"collMod": orders.name, "changeStreamPreAndPostImages": {"enabled": False}})
    orders.update_one({"_id": 1}, {"$set": {"n": 2}})
    orders.replace_one({"_id": 1}, {"n": 3})
    orders.delete_one({"_id": 1})


def inserting(document: dict[str, Any]) -> Callable[[Documents], object]:
    return lambda orders: orders.insert_one({"_id": 1, **document})


SCENARIOS = {
    "insert": Scenario(lambda orders: orders.insert_many([{"_id": i, "n": i} for i in range(5)]), 5),
    "update": Scenario(update, 4),
    "replace": Scenario(replace, 2),
    "delete": Scenario(delete, 3),
    "snapshot": Scenario(
        lambda orders: orders.update_one({"_id": 2}, {"$set": {"n": 3}}),
        4,
        first=({"_id": 1, "n": 1}, {"_id": 2, "n": 2, **ARRAYS}, {"_id": OBJECT_ID, **NUMBERS}),
    ),
    "nested": Scenario(inserting(NESTED), 1),
    "arrays": Scenario(inserting(ARRAYS), 1),
    "numbers": Scenario(inserting(NUMBERS), 1),
    "dates": Scenario(inserting(DATES), 1),
    "others": Scenario(inserting(OTHERS), 1),
    "keys": Scenario(keys, 2 * len(KEYS)),
    "change_type": Scenario(change_type, 7),
    "transaction": Scenario(transaction, 2),
    "without_images": Scenario(without_images, 4),
}


def record(stack: Stack) -> None:
    endpoints = stack.endpoints
    source = Source(name="corpus", uri=endpoints.mongodb_uri, database="shop", collections=tuple(SCENARIOS))
    with (
        MongoClient[dict[str, Any]](endpoints.mongodb_uri) as mongo,
        ConnectClient(endpoints.connect_url) as connect,
    ):
        for name, scenario in SCENARIOS.items():
            if scenario.first:
                mongo.shop[name].insert_many(scenario.first)
        deploy(source, connect)
        eventually(lambda: connect.progress(source.connector) is Progress.STREAM)
        for name, scenario in SCENARIOS.items():
            scenario.change(mongo.shop[name])
            write(name, read(endpoints.kafka_bootstrap, source.topic(name), scenario.events))


def write(name: str, records: list[Record]) -> None:
    lines = [
        orjson.dumps(
            {
                "partition": record.partition,
                "offset": record.offset,
                "key": record.key.decode(),
                "value": record.value.decode(),
            }
        )
        for record in sorted(records, key=lambda record: (record.partition, record.offset))
    ]
    (CORPUS / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def main() -> None:
    start = time.monotonic()
    settings = StackSettings(mongodb_port=0, kafka_port=0, kafka_controller_port=0, connect_port=0)
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, Stack.attached(Path(home), settings) as stack:
        stack.up(print)
        record(stack)
    print(f"recorded {len(SCENARIOS)} collections in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
