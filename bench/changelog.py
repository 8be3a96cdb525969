"""Kafka → changelog: the platform, and the script that most people begin with.

python -m bench.changelog ours|script BOOTSTRAP TOPIC FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from confluent_kafka import Consumer, KafkaError, TopicPartition
from deltalake import write_deltalake

from bench.measure import tell, timed
from cdc_platform.core.model import Kind, Receipt
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.platform import utc_now
from cdc_platform.replicate import Drain, Failure, Replica, Until

SCRIPT_BATCH = 20_000


def ours(bootstrap: str, topic: str, folder: Path) -> int:
    """As a run does it: decode strictly, gate the schema, commit rows and offsets together, every second."""
    log = KafkaLog(bootstrap)
    replica = Replica(
        name="orders",
        stream=log.streams([topic])[topic],
        changelog=DeltaLakeTable(folder / "orders_changes", Kind.CHANGELOG),
        current=DeltaLakeTable(folder / "orders", Kind.CURRENT),
        letters=DeltaLakeTable(folder / "orders_deadletters", "dead_letters"),
        now=utc_now,
        kinds=frozenset({Kind.CHANGELOG}),
    )
    rows = 0
    with Drain([replica], log, Until(caught_up=True)) as drain:
        while drain.running:
            match drain.take(timeout=0.1):
                case Receipt() as receipt:
                    rows += receipt.rows_in
                case Failure() as failure:
                    raise failure.error
    return rows


def script(bootstrap: str, topic: str, folder: Path) -> int:
    """A consumer loop with orjson, a frame from dicts, an append a batch: no types kept, no exactly once."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "script",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    ended: set[int] = set()
    held: list[dict[str, Any]] = []
    rows = 0

    def write() -> None:
        frame = pl.DataFrame(held, infer_schema_length=None, strict=False)
        write_deltalake(str(folder / "orders_changes"), frame, mode="append", schema_mode="merge")

    while len(ended) < partitions:
        for message in consumer.consume(5_000, 1.0):
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            event = orjson.loads(message.value())
            row = orjson.loads(event["after"] or event["before"])
            held.append({**row, "op": event["op"], "ts_ms": event["source"]["ts_ms"]})
        if len(held) >= SCRIPT_BATCH:
            write()
            rows += len(held)
            held.clear()
    if held:
        write()
        rows += len(held)
    consumer.close()
    return rows


if __name__ == "__main__":
    variant, bootstrap, topic, folder = sys.argv[1:]
    work = {"ours": ours, "script": script}[variant]
    tell(timed(lambda: work(bootstrap, topic, Path(folder))))
