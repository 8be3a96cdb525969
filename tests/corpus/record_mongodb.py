"""Record the corpus again: what the real Debezium writes to the real Kafka for changes of a real MongoDB.

    PYTHONPATH=. python -m tests.corpus.record_mongodb

One file a collection under ``mongodb/``, one record a line, ordered by partition and offset:
``{"partition": int, "offset": int, "key": text, "value": text}``. Texts are the record's bytes as UTF-8,
exactly. Times, positions and generated ids differ from one recording to the next; their form does not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, Timestamp
from pymongo import MongoClient
from pymongo.collection import Collection

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import deploy
from cdc_platform.connect.status import Progress
from cdc_platform.core.source import Source
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
from tests.corpus.raw import document
from tests.corpus.values import BINARIES, EDGES, KINDS, NAMES, OBJECT_ID, changing, nested
from tests.stack.conftest import eventually
from tests.stack.topics import Record, read

CORPUS = Path(__file__).parent / "mongodb"

Documents = Collection[dict[str, Any]]

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
    BINARIES["uuid"],
    Binary(b"\x00\xff", 0),
    datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
    Timestamp(1, 2),
    float("nan"),
    {"a": 1, "b": "x"},
    {"b": "x", "a": 1},
    {"a": {"b": OBJECT_ID, "c": Int64(1)}},
    {},
    {"a": [1, {"b": None}], "c": DatetimeMS(253_402_300_800_000)},
    DatetimeMS(-1),
    DatetimeMS(2**63 - 1),
    Decimal128("NaN"),
    float("-inf"),
    2.0**53,
    MinKey(),
    MaxKey(),
)
NESTED: dict[str, Any] = {
    "customer": {
        "name": "Ann",
        "address": {
            "city": "Bern",
            "zip": Int64(3000),
            "since": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        },
    },
    "empty": {},
    "none": {"a": None},
    "Case": 1,
    "case": 2,
    "with space": 3,
}
MISSING: tuple[dict[str, Any], ...] = (
    {"text": "x", "list": [1], "document": {"a": 1}},
    {"text": None, "list": None, "document": None},
    {},
    {"text": "", "list": [], "document": {}},
    {"list": [None], "document": {"a": None}},
)
UNTYPED: tuple[dict[str, Any], ...] = (
    {"list": [], "document": {}, "lists": [[]], "documents": [{}], "nulls": [None], "null": None},
    {"list": [1], "document": {"x": 1}, "lists": [[1]], "documents": [{"x": 1}], "nulls": ["x"], "null": 1},
    {"list": [], "document": {}, "lists": [[]], "documents": [{}], "nulls": [None], "null": None},
)
WIDENING: tuple[dict[str, Any], ...] = (
    {"int_first": 1, "long_first": Int64(2**53 + 1), "double_first": 1.5},
    {"int_first": Int64(2**53 + 1), "long_first": 1, "double_first": 1},
    {"int_first": 1.5, "long_first": 1.5, "double_first": Int64(2**53 - 1)},
    {"int_first": 2.0, "long_first": 2.0, "double_first": Int64(2**53)},
)
MIXED_LISTS: dict[str, Any] = {
    "ints_and_texts": [1, "1"],
    "ints_and_doubles": [1, 1.5],
    "longs_and_doubles": [Int64(2**53 + 1), 1.5],
    "object_ids_and_texts": [OBJECT_ID, str(OBJECT_ID)],
    "dates_and_ints": [DatetimeMS(0), 0],
    "documents": [{"a": 1, "b": 1}, {"a": "x", "b": 2}],
    "lists": [[1], ["x"]],
    "nulls": [None, None],
    "everything": [*KINDS.values(), None, [], {}],
}
IMITATIONS: dict[str, Any] = {
    "object_id": {"$oid": "65a000000000000000000001"},
    "long": {"$numberLong": "5"},
    "long_of_letters": {"$numberLong": "x"},
    "date": {"$date": 5},
    "date_of_text": {"$date": "2020-01-01"},
    "binary": {"$binary": "AAH/", "$type": "00"},
    "binary_of_letters": {"$binary": "%%", "$type": "00"},
    "bytes": {"$bytes": "%%"},
    "uuid": {"$uuid": "%%"},
    "decimal": {"$numberDecimal": "x"},
    "more": {"$oid": "65a000000000000000000001", "more": 1},
    "beside": {"x": 1, "x__json": "{}"},
}
ARRAYS: dict[str, Any] = {
    "ints": [1, 2, 3],
    "longs": [Int64(1), Int64(2**40)],
    "mixed": [1, "1", 1.0, None, True, OBJECT_ID, {"a": 1}, [1]],
    "documents": [{"sku": "a", "n": 1}, {"sku": "b", "price": Decimal128("1.20")}],
    "nested": [[1, 2], [], [[3]]],
    "empty": [],
}


DEEP = [
    {"levels": levels, **{kind: nested(levels - 1, kind) for kind in ("documents", "lists", "both")}}
    for levels in (10, 32, 33, 100, 178)
]


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


def inserting(*documents: dict[str, Any]) -> Callable[[Documents], object]:
    """Inserts these documents, one after another, with ``_id`` 1, 2, …"""

    def insert(orders: Documents) -> None:
        for number, fields in enumerate(documents, start=1):
            orders.insert_one(document({"_id": number, **fields}))

    return insert


SCENARIOS = {
    "insert": Scenario(lambda orders: orders.insert_many([{"_id": i, "n": i} for i in range(5)]), 5),
    "update": Scenario(update, 4),
    "replace": Scenario(replace, 2),
    "delete": Scenario(delete, 3),
    "snapshot": Scenario(
        lambda orders: orders.update_one({"_id": 2}, {"$set": {"n": 3}}),
        4,
        first=({"_id": 1, "n": 1}, {"_id": 2, "n": 2, **ARRAYS}, {"_id": OBJECT_ID, **KINDS}),
    ),
    "nested": Scenario(inserting(NESTED), 1),
    "arrays": Scenario(inserting(ARRAYS), 1),
    "edges": Scenario(inserting(EDGES), 1),
    "edges_nested": Scenario(inserting({"nested": EDGES}), 1),
    "edges_listed": Scenario(inserting({name: [value, None, value] for name, value in EDGES.items()}), 1),
    "names": Scenario(inserting(dict.fromkeys(NAMES, 1)), 1),
    "names_nested": Scenario(inserting({"nested": dict.fromkeys(NAMES, 1)}), 1),
    "missing": Scenario(inserting(*MISSING), len(MISSING)),
    "untyped": Scenario(inserting(*UNTYPED), len(UNTYPED)),
    "widening": Scenario(inserting(*WIDENING), len(WIDENING)),
    "changing": Scenario(inserting(*changing()), len(KINDS)),
    "mixed_lists": Scenario(inserting(MIXED_LISTS), 1),
    "imitations": Scenario(inserting(IMITATIONS), 1),
    "deep": Scenario(inserting(*DEEP), len(DEEP)),
    "wide": Scenario(inserting({f"field_{n}": n for n in range(1_000)}), 1),
    "keys": Scenario(keys, 2 * len(KEYS)),
    "change_type": Scenario(change_type, 7),
    "transaction": Scenario(transaction, 2),
    "without_images": Scenario(without_images, 4),
}


def record(stack: Stack) -> None:
    endpoints = stack.endpoints
    source = Source(name="corpus", uri=endpoints.mongodb_uri, database="shop", collections=tuple(SCENARIOS))
    with (
        MongoClient[dict[str, Any]](endpoints.mongodb_uri, datetime_conversion="DATETIME_MS") as mongo,
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
