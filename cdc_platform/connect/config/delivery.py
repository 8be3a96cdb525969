"""How every connector hands on what it reads: exactly once, all of it, into topics of known shape."""

from __future__ import annotations

import re
from typing import Final

from cdc_platform.core.sizes import MAX_RECORD_BYTES
from cdc_platform.core.source import Source

_HEARTBEATS: Final = "__debezium-heartbeat"


def notifications_topic(source: Source) -> str:
    """Where the connector tells how far its snapshots have come, in one order with what they read."""
    return f"{source.name}.notifications"


def notifying(source: Source) -> dict[str, str]:
    """What has a connector tell how far an incremental snapshot has come.

    Never from its beginning: what it tells of an initial snapshot is committed with an empty position, and a
    connector of Debezium 3.4 that is killed right then takes its snapshot for made.
    """
    return {
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": notifications_topic(source),
    }


def service_topics(source: Source) -> tuple[str, str, str]:
    """The topics the connector writes besides those of its collections: heartbeats, transactions, how far its
    snapshots are."""
    return f"{_HEARTBEATS}.{source.name}", f"{source.name}.transaction", notifications_topic(source)


def delivery(source: Source) -> dict[str, str]:
    return {
        "exactly.once.support": "required",
        "event.processing.failure.handling.mode": "fail",
        "errors.tolerance": "none",
        "skipped.operations": "none",
        "provide.transaction.metadata": "true",
        "tombstones.on.delete": "false",
        "heartbeat.interval.ms": "1000",
        "heartbeat.topics.prefix": _HEARTBEATS,
        "poll.interval.ms": str(source.capture.poll_interval_ms),
        "max.batch.size": str(source.capture.batch_size),
        "max.queue.size": str(source.capture.queue_size),
        # the queue counts events, whatever their size: bounded in bytes too, or the worker's heap is not
        "max.queue.size.in.bytes": str(64 * 2**20),
        # Debezium tries again whatever the database refuses, for ever unless told otherwise, and its task is
        # shown as running meanwhile: after five minutes of refusals the task shall fail, with the reason
        "retriable.restart.connector.wait.ms": "2000",
        "errors.max.retries": "150",
        "errors.log.enable": "true",
        "errors.log.include.messages": "false",  # documents and rows do not belong in logs
        "producer.override.compression.type": "lz4",
        "producer.override.linger.ms": "5",
        "producer.override.batch.size": "262144",
        "producer.override.max.request.size": str(MAX_RECORD_BYTES),
        "producer.override.buffer.memory": str(MAX_RECORD_BYTES + 32 * 2**20),
    }


def topics(source: Source) -> dict[str, str]:
    """Topics that Connect creates, replicated as the brokers do by default. One there is stays as it is."""
    return {
        "topic.creation.default.replication.factor": "-1",
        "topic.creation.default.partitions": str(source.partitions),
        "topic.creation.default.max.message.bytes": str(MAX_RECORD_BYTES),
        "topic.creation.groups": "service",
        "topic.creation.service.include": ",".join(map(re.escape, service_topics(source))),
        "topic.creation.service.replication.factor": "-1",
        "topic.creation.service.partitions": "1",
    }
