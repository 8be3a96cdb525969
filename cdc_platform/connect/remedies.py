"""What to do about a connector's failure, for those that are known by the words in their trace.

Invariant: a remedy is told only for words that mean one thing. For all others the cause itself is what helps.
"""

from __future__ import annotations

from typing import Final

from cdc_platform.core.sizes import MAX_DOCUMENT_BYTES, MAX_RECORD_BYTES

_MIB: Final = 2**20

_PAST_IT: Final = (
    "the stream cannot pass that change: make the document smaller or delete it, read everything anew with "
    "cdc connector snapshot, and remove with cdc reconcile what was deleted meanwhile"
)

_ANEW: Final = (
    "read everything anew with cdc connector snapshot, and remove with cdc reconcile what was deleted "
    "meanwhile"
)
_LOG_GONE: Final = (
    f"PostgreSQL has removed log that the slot still needed: let it keep more (max_slot_wal_keep_size), and "
    f"{_ANEW}"
)
_BINLOG_GONE: Final = (
    f"the server has purged a binlog that was not read yet: {_ANEW}; let it keep them for longer than a "
    f"connector may rest (binlog_expire_logs_seconds)"
)
_TOKEN_GONE: Final = (
    f"MongoDB's oplog has no longer, or never had, the place that the connector had come to (its resume "
    f"token): the connector rested for longer than the oplog reaches, or the database is another one: {_ANEW}"
    f"; let the oplog keep more (replSetResizeOplog)"
)
_HISTORY_GONE: Final = f"the topic with the history of the tables' structure is gone or incomplete: {_ANEW}"


_KNOWN: Final = (
    (
        "value of the max.request.size configuration",
        f"a change is larger as text than a record of {MAX_RECORD_BYTES // _MIB} MB, as a document of "
        f"control characters may be; {_PAST_IT}",
    ),
    (
        "larger than the max message size the server will accept",
        f"the topic takes smaller records than the connector writes: give it max.message.bytes="
        f"{MAX_RECORD_BYTES} (kafka-configs --alter --entity-type topics --entity-name TOPIC --add-config "
        f"…), then restart the connector",
    ),
    (
        "BSONObjectTooLarge",
        f"MongoDB sends no event over {MAX_DOCUMENT_BYTES // _MIB} MB, and this one is, even without the "
        f"document before the change: its _id must be very large; {_PAST_IT}",
    ),
    # Debezium 3.4 fails to say so: its message needs the collection of a change that there is none of.
    ("MongoDbConnectorTask.validate", _TOKEN_GONE),
    ("ChangeStreamHistoryLost", _TOKEN_GONE),
    ("the resume token was not found", _TOKEN_GONE),
    (
        "starting at PostgresOffsetContext",
        f"the connector's replication slot is gone, and with it the changes since it had last read: {_ANEW}",
    ),
    ("but this is no longer available on the server", _BINLOG_GONE),
    ("Could not find GTID state requested by slave in any binlog files", _BINLOG_GONE),
    ("Could not find first log file name in binary log index file", _BINLOG_GONE),
    ("can no longer get changes from replication slot", _LOG_GONE),
    ("can no longer access replication slot", _LOG_GONE),
    ("cannot read from logical replication slot", _LOG_GONE),
    ("requested WAL segment", _LOG_GONE),
    (
        "all replication slots are in use",
        "drop a slot that nobody reads (SELECT slot_name FROM pg_replication_slots WHERE NOT active), or "
        "raise max_replication_slots and restart PostgreSQL; then restart the connector",
    ),
    (
        "number of requested standby connections exceeds",
        "raise max_wal_senders and restart PostgreSQL; then restart the connector",
    ),
    (
        "is active for PID",
        "another connector reads the replication slot: two sources of this name read one server. End the "
        "other one, or give this source another name",
    ),
    (
        "with the same server_uuid/server_id is already connected",
        "another replica has the connector's id: declare capture: {server_id: …} with one of its own, and "
        "apply the connector",
    ),
    (
        "password authentication failed",
        "correct the user or its password in uri, and apply the connector",
    ),
    ("Access denied for user", "correct the user, its password or its rights, and apply the connector"),
    ("The database schema history couldn't be recovered", _HISTORY_GONE),
    ("db history topic or its content is fully or partially missing", _HISTORY_GONE),
    (
        "java.lang.OutOfMemoryError",
        "the worker holds up to capture.batch_size events at once, whatever their size: lower it in the "
        "source (4 for documents of 16 MB) and apply the connector, or give the worker more heap "
        "(CDC_CONNECT_HEAP_MB of the local stack)",
    ),
)

_UNKNOWN: Final = "remove the cause, then restart the connector; the worker's log has the whole trace"


def remedy(trace: str) -> str:
    """For a Java stack trace, or the last lines of a worker's log."""
    return next((told for words, told in _KNOWN if words in trace), _UNKNOWN)
