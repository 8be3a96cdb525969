"""The Debezium connector of a source, as Kafka Connect takes it. Pure.

Invariants
- Names come from ``Source``, so that the connector writes to the topics that are read.
- Settings that correctness rests on cannot be tuned: exactly-once is required, nothing is skipped or
  tolerated, and a change is one record (no tombstones). Without them a crash repeats rows or a bad event
  vanishes.
- The commit time of an event lies in the second of its cluster time: with ``ord`` it is the exact position
  that proofs compare at. Without that, an event near a second's end is placed on the wrong side of a proof.
- A change event is at most as large as MongoDB sends one: it loses what nothing downstream needs before it
  is. Without that, one update of a large document ends the stream of the whole database.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from cdc_platform.core.pattern import expression
from cdc_platform.core.sizes import MAX_DOCUMENT_BYTES, MAX_RECORD_BYTES
from cdc_platform.core.source import Source

CONNECTOR_CLASS: Final = "io.debezium.connector.mongodb.MongoDbConnector"

_HEARTBEATS: Final = "__debezium-heartbeat"


def connector_config(source: Source) -> dict[str, str]:
    """Connect's settings for ``source``; their meaning is Debezium 3.4's. Holds the source's credentials."""
    return {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        "topic.prefix": source.name,
        **_capture(source),
        **_snapshot(source),
        **_delivery(),
        **_topics(source),
        **_format(),
    }


def service_topics(source: Source) -> tuple[str, str]:
    """The topics the connector writes besides those of its collections: heartbeats, transactions."""
    return f"{_HEARTBEATS}.{source.name}", f"{source.name}.transaction"


def _capture(source: Source) -> dict[str, str]:
    return {
        "mongodb.connection.string": source.uri,
        # an unreachable server is found in seconds, when the settings are validated and when a task starts
        "mongodb.server.selection.timeout.ms": "10000",
        "mongodb.connect.timeout.ms": "10000",
        # one database is watched, not the deployment: fewer privileges, and other databases' load is not read
        "capture.scope": "database",
        "capture.target": source.database,
        "database.include.list": exactly(source.database),
        "collection.include.list": ",".join(_included(source)),
        **_images(source),
        "cursor.pipeline": orjson.dumps([{"$addFields": _commit_time() | _fitting_images()}]).decode(),
        # before Debezium's own stages: they already fail with an event that is too large
        "cursor.pipeline.order": "user_first",
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
    }


def _included(source: Source) -> list[str]:
    """Names and globs. A name that a glob takes is left out: finding one leaves the connector as it is."""
    database = re.escape(source.database)
    return [
        *(exactly(f"{source.database}.{name}") for name in source.captured if not source.takes(name)),
        *(rf"(?-i:{database}\.{expression(glob)})" for glob in source.globs),
    ]


def exactly(name: str) -> str:
    """A regular expression for this one name. Debezium's ignore case: ``a`` would take ``A`` too."""
    return f"(?-i:{re.escape(name)})"


def _images(source: Source) -> dict[str, str]:
    if source.capture.images == "lookup":
        return {"capture.mode": "change_streams_update_full", "capture.mode.full.update.type": "lookup"}
    return {
        "capture.mode": "change_streams_update_full_with_pre_image",
        "capture.mode.full.update.type": "post_image",
    }


def _commit_time() -> dict[str, object]:
    """Moves ``wallTime`` into the second of ``clusterTime``, by as little as it can.

    Debezium 3.4 fills an event's ``source.ts_ms`` from the wall time, whose second differs from the cluster
    time's for a few events in 100,000, and always when the cluster's clock runs ahead.
    """
    second = {"$multiply": [{"$toLong": {"$tsSecond": "$clusterTime"}}, 1000]}
    not_before = {"$max": [{"$toLong": "$wallTime"}, second]}
    within = {"$min": [not_before, {"$add": [second, 999]}]}
    return {"wallTime": {"$toDate": within}}


def _fitting_images() -> dict[str, object]:
    """Leaves out what would make an event too large to be sent: first the description of an update, which
    says what the images say, then the document before it.

    MongoDB refuses an event over 16 MB, and with it all that come after. Its stage that splits such events
    ($changeStreamSplitLargeEvent) is not in servers before 6.0.9, and Debezium 3.4 cannot always go on from
    a split event after a restart.
    """

    def kept(field: str, beside: list[str]) -> dict[str, object]:
        sizes = [{"$ifNull": [{"$bsonSize": each}, 0]} for each in (field, *beside)]
        return {"$cond": [{"$gt": [{"$add": sizes}, MAX_DOCUMENT_BYTES]}, "$$REMOVE", field]}

    after, before = "$fullDocument", "$fullDocumentBeforeChange"
    return {
        "updateDescription": kept("$updateDescription", [before, after]),
        "fullDocumentBeforeChange": kept(before, [after]),
    }


def _snapshot(source: Source) -> dict[str, str]:
    return {
        "snapshot.mode": "initial",
        "snapshot.fetch.size": str(source.capture.snapshot_fetch_size),
        "snapshot.max.threads": str(source.capture.snapshot_threads),
    }


def _delivery() -> dict[str, str]:
    return {
        "exactly.once.support": "required",
        "event.processing.failure.handling.mode": "fail",
        "errors.tolerance": "none",
        # Debezium tries again whatever MongoDB refuses, for ever unless told otherwise, and its task is shown
        # as running meanwhile: after five minutes of refusals the task shall fail, with the reason
        "retriable.restart.connector.wait.ms": "2000",
        "errors.max.retries": "150",
        "errors.log.enable": "true",
        "errors.log.include.messages": "false",  # documents do not belong in logs
        "producer.override.compression.type": "lz4",
        "producer.override.linger.ms": "5",
        "producer.override.batch.size": "262144",
        "producer.override.max.request.size": str(MAX_RECORD_BYTES),
        "producer.override.buffer.memory": str(MAX_RECORD_BYTES + 32 * 2**20),
    }


def _topics(source: Source) -> dict[str, str]:
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


def _format() -> dict[str, str]:
    return {
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    }
