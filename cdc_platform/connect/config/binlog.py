"""Settings of Debezium's connectors for MariaDB and MySQL, which read the binlog.

Invariants
- The connector's id among the server's replicas does not change, nor is it another source's: the server ends
  the connection of a replica whose id comes again.
- The history of the tables' structure is kept of the whole database, so that a table can be captured later,
  and for ever: without it the binlog cannot be read any more.
"""

from __future__ import annotations

from typing import Final

from cdc_platform.connect.config import tables
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

CONNECTOR_CLASSES: Final = {
    Engine.MARIADB: "io.debezium.connector.mariadb.MariaDbConnector",
    Engine.MYSQL: "io.debezium.connector.mysql.MySqlConnector",
}
_NOT_ENCRYPTED: Final = {Engine.MARIADB: "disable", Engine.MYSQL: "preferred"}


def history_topic(source: Source) -> str:
    """Where the connector keeps the tables' structure; it makes the topic, with one partition, for ever."""
    return f"{source.name}.schema_history"


def settings(source: Source, kafka_bootstrap: str) -> dict[str, str]:
    """``kafka_bootstrap``: as the worker reaches it."""
    return {
        "connector.class": CONNECTOR_CLASSES[source.engine],
        **tables.settings(source),
        "database.include.list": f"(?-i:{tables.literal(source.database)})",
        "database.ssl.mode": tables.reached(source).sslmode or _NOT_ENCRYPTED[source.engine],
        "database.server.id": str(source.server_id),
        "connect.timeout.ms": "10000",
        "bigint.unsigned.handling.mode": "precise",
        # the server has read two digits of a year already: what it has stored is meant
        "enable.time.adjuster": "false",
        # as dates, both drivers fail with the year 0000, and with them the snapshot
        "driver.yearIsDateType": "false",
        # minimal: others wait only while the structure of the tables is read, not while their rows are
        "snapshot.locking.mode": "minimal",
        "event.deserialization.failure.handling.mode": "fail",
        "inconsistent.schema.handling.mode": "fail",
        "include.schema.changes": "false",
        "schema.history.internal.kafka.bootstrap.servers": kafka_bootstrap,
        "schema.history.internal.kafka.topic": history_topic(source),
        "schema.history.internal.store.only.captured.databases.ddl": "true",
        "schema.history.internal.store.only.captured.tables.ddl": "false",
    }
