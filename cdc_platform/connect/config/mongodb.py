"""Settings of Debezium's connector for MongoDB.

Invariants
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
from cdc_platform.core.sizes import MAX_DOCUMENT_BYTES
from cdc_platform.core.source import SIGNALS, Source, Wire

CONNECTOR_CLASS: Final = "io.debezium.connector.mongodb.MongoDbConnector"
_SNAPSHOT_THREADS: Final = 4


def settings(source: Source) -> dict[str, str]:
    return {
        "connector.class": CONNECTOR_CLASS,
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
        **_names(source),
        "signal.data.collection": f"{source.database}.{SIGNALS}",
        "signal.enabled.channels": "source",
        "snapshot.mode": "initial",
        "snapshot.fetch.size": str(source.capture.snapshot_fetch_size),
        "snapshot.max.threads": str(source.capture.snapshot_threads or _SNAPSHOT_THREADS),
    }


def _names(source: Source) -> dict[str, str]:
    """Avro has no names with other characters than letters, digits and underscores."""
    if source.written_as is not Wire.AVRO:
        return {}
    return {"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro"}


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
