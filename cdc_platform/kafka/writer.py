"""Writes a few records to the log: what the platform itself has to say in a topic."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from cdc_platform.core.errors import Transient


def write(
    bootstrap: str, topic: str, records: Sequence[tuple[int, bytes, bytes]], timeout: float = 30.0
) -> None:
    """Records as partition, key and value; returns once all are acknowledged by all replicas.

    Raises Transient if one is not within ``timeout`` seconds; some may have been written then.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "delivery.timeout.ms": int(timeout * 1000),
            "log_level": 2,
        }
    )
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    for partition, key, value in records:
        producer.produce(topic, partition=partition, key=key, value=value, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(timeout + 5)
    if left or failed:
        raise Transient(
            f"Kafka did not take {left + len(failed)} of {len(records)} records: {', '.join(failed[:1])}",
            where=f"topic {topic}, Kafka at {bootstrap}",
            remedy="check that the brokers run and that this user may write to the topic, then do it again",
        )
