"""Kafka → changelog: the platform, and the script that most people begin with.

python -m bench.changelog ours|both|script BOOTSTRAP TOPIC FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from confluent_kafka import Consumer, KafkaError, TopicPartition
from deltalake import write_deltalake

from bench.measure import tell, timed
from cdc_platform.core.model import Format, Kind, Receipt
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import replica
from cdc_platform.replicate import Drain, Failure, Until

SCRIPT_BATCH = 20_000

SOURCE = Source(name="bench", uri="mongodb://nowhere", database="bench", collections=("orders",))


def ours(bootstrap: str, topic: str, folder: Path, formats: Sequence[Format] = (Format.DELTA,)) -> int:
    """As a run does it: decode strictly, gate the schema, commit rows and offsets together, every second."""
    log = KafkaLog(bootstrap)
    settings = Settings(lake_root=folder, state_dir=folder)
    stream = log.streams([topic])[topic]
    wanted = [
        replica(settings, SOURCE, "orders", stream, frozenset({Kind.CHANGELOG}), stored) for stored in formats
    ]
    rows = 0
    with Drain(wanted, log, Until(caught_up=True)) as drain:
        while drain.running:
            match drain.take(timeout=0.1):
                case Receipt() as receipt:
                    rows += receipt.rows_in if receipt.format is formats[0] else 0
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
    both = partial(ours, formats=tuple(Format))
    work = {"ours": ours, "both": both, "script": script}[variant]
    tell(timed(lambda: work(bootstrap, topic, Path(folder))))
