"""What is in a topic, for tests: read from its start, committed records only, until there is enough; and
records sent to it once more."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition


@dataclass(frozen=True, slots=True)
class Record:
    partition: int
    offset: int
    key: bytes
    value: bytes

    @property
    def event(self) -> dict[str, Any]:
        return orjson.loads(self.value)


def read(bootstrap: str, topic: str, count: int, *, within: float = 30) -> list[Record]:
    """The first ``count`` records, each partition's in order. Fails if fewer come in ``within`` seconds."""
    end = time.monotonic() + within
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reading-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
        }
    )
    found: list[Record] = []
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in _partitions(consumer, topic, end)])
        for message in _messages(consumer, end):
            found.append(message)
            if len(found) == count:
                return found
    finally:
        consumer.close()
    raise AssertionError(f"{len(found)} of {count} records in {topic} after {within:g} s: {found}")


def send_again(bootstrap: str, topic: str, records: list[Record]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2})
    for record in records:
        producer.produce(topic, key=record.key, value=record.value, partition=record.partition)
    assert producer.flush(30) == 0


def _partitions(consumer: Consumer, topic: str, end: float) -> list[int]:
    while time.monotonic() < end:
        known = consumer.list_topics(timeout=10).topics.get(topic)
        if known is not None and known.partitions:
            return list(known.partitions)
        consumer.poll(0.05)
    raise AssertionError(f"there is no topic {topic}")


def _messages(consumer: Consumer, end: float) -> Iterator[Record]:
    while time.monotonic() < end:
        message = consumer.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if error is not None:
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise KafkaException(error)
        yield Record(message.partition(), message.offset(), message.key() or b"", message.value() or b"")
