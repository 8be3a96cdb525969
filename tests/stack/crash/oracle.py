"""What must be in the lake, and what is: Kafka by a plain consumer, MongoDB by its driver, the lake by its
formats' own readers (``tables``).

Invariant: nothing here is the platform's, so a mistake of the platform is not made twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from pymongo.database import Database

from tests.stack.crash.tables import TableFiles

OFFSETS: Final = pl.Schema({"partition": pl.Int32(), "offset": pl.Int64()})
CHANGED: Final[Mapping[str, pl.Expr]] = {
    "orders": pl.struct("status", street=pl.col("delivery").struct["address"].struct["street"]),
    "customers": pl.struct("points"),
    "products": pl.struct("price", berlin=pl.col("stock").struct["berlin"]),
}
"""Per collection of the shop the fields that its updates change."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Between what a topic delivers and what a changelog holds, as (partition, offset)."""

    missing: frozenset[tuple[int, int]]
    doubled: frozenset[tuple[int, int]]
    foreign: frozenset[tuple[int, int]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.doubled or self.foreign)

    def __str__(self) -> str:
        found = {"missing": self.missing, "doubled": self.doubled, "foreign": self.foreign}
        return ", ".join(f"{len(pairs)} {name} {sorted(pairs)[:5]}" for name, pairs in found.items() if pairs)


def delivered(bootstrap: str, topic: str) -> pl.DataFrame:
    """Partition and offset of every committed record from the topic's start to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"oracle-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    found: list[tuple[int, int]] = []
    try:
        unread = set(consumer.list_topics(topic, timeout=15).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
        end = time.monotonic() + 60
        while unread:
            assert time.monotonic() < end, f"{topic}: the ends of partitions {unread} were not seen"
            for message in consumer.consume(1_000, timeout=0.1):
                if (error := message.error()) is None:
                    found.append((message.partition(), message.offset()))  # type: ignore[arg-type]
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return pl.DataFrame(found, schema=OFFSETS, orient="row")


def held(table: TableFiles) -> pl.DataFrame:
    """Partition and offset of every row of a lake table."""
    rows = table.rows().select(partition="_kafka_partition", offset="_kafka_offset")
    return rows.collect().cast(OFFSETS)


def difference(expected: pl.DataFrame, found: pl.DataFrame) -> Difference:
    times = found.group_by("partition", "offset").len()

    def pairs(frame: pl.DataFrame) -> frozenset[tuple[int, int]]:
        return frozenset(frame.select("partition", "offset").iter_rows())

    return Difference(
        missing=pairs(expected.join(found, on=OFFSETS.names(), how="anti")),
        doubled=pairs(times.filter(pl.col("len") > 1)),
        foreign=pairs(found.join(expected, on=OFFSETS.names(), how="anti")),
    )


def documents(database: Database[dict[str, Any]], collection: str) -> dict[str, Any]:
    """The source now: ``_id`` as text → the fields that change."""
    return {str(doc["_id"]): changing(collection, doc) for doc in database[collection].find()}


def changing(collection: str, doc: dict[str, Any]) -> dict[str, Any]:
    match collection:
        case "orders":
            return {"status": doc["status"], "street": doc["delivery"]["address"]["street"]}
        case "customers":
            return {"points": doc["points"]}
        case _:
            return {"price": str(doc["price"]), "berlin": doc["stock"]["berlin"]}


def rows(table: TableFiles, collection: str) -> dict[str, Any]:
    """The current table: the same of every row. Fails if an ``_id`` has two rows."""
    found = table.rows().select(key=pl.col("_id").cast(pl.String), changed=CHANGED[collection]).collect()
    assert found["key"].is_unique().all(), f"{collection}: a document has two rows"
    return dict(found.iter_rows())


def steps_back(table: TableFiles) -> list[str]:
    """Commits that set an offset below the one an earlier commit had set, in words."""
    found, reached = list[str](), dict[str, int]()
    for number, moved in enumerate(table.moves()):
        for partition, offset in moved.items():
            if offset < (before := reached.get(partition, 0)):
                found.append(f"commit {number}: {before} to {offset} in {partition}")
            reached[partition] = offset
    return found
