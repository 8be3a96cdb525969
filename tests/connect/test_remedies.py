"""What is told about failures that connectors of PostgreSQL, MariaDB and MySQL were seen to end with."""

from __future__ import annotations

import pytest

from cdc_platform.connect.remedies import remedy


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (
            "io.debezium.DebeziumException: The connector is trying to read change stream starting at "
            "PostgresOffsetContext [], but this is no longer available on the server. Reconfigure the "
            "connector to use a snapshot when needed if you want to recover.",
            "the connector's replication slot is gone",
        ),
        (
            "org.apache.kafka.connect.errors.DataException: Invalid value: null used for required field: "
            '"collection", schema type: STRING\n'
            "\tat io.debezium.connector.mongodb.MongoDbConnectorTask.validate(MongoDbConnectorTask.java:345)",
            "resume token",
        ),
        (
            "Caused by: com.github.shyiko.mysql.binlog.network.ServerException: Could not find GTID state "
            "requested by slave in any binlog files. Probably the slave state is too old",
            "binlog_expire_logs_seconds",
        ),
        (
            'ERROR: can no longer access replication slot "cdc_shop"\n  Detail: This replication slot has '
            'been invalidated due to "wal_removed".',
            "max_slot_wal_keep_size",
        ),
        (
            "org.postgresql.util.PSQLException: ERROR: all replication slots are in use",
            "max_replication_slots",
        ),
        (
            "ServerException: A slave with the same server_uuid/server_id is already connected; the first",
            "server_id",
        ),
        ('FATAL: password authentication failed for user "cdc"', "password in uri"),
        ("(conn=216) Access denied for user 'cc'@'127.0.0.1' (using password: YES)", "its password"),
        ("java.lang.IllegalStateException: what nobody has seen yet", "the worker's log has the whole trace"),
    ],
)
def test_a_known_failure_has_its_remedy(trace: str, told: str) -> None:
    assert told in remedy(trace)
