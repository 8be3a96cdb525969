"""Settings of Debezium's connector for PostgreSQL.

Invariants
- Slot and publication are the source's own, by its name; the publication is made by ``connect.prepare``, and
  the connector only uses it. So it publishes partitioned tables by their root, and a table that is found
  later joins it without a restart.
- A snapshot reads one state of the whole database.
"""

from __future__ import annotations

from typing import Final

from cdc_platform.connect.config import tables
from cdc_platform.core.source import Source

CONNECTOR_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"


def settings(source: Source) -> dict[str, str]:
    sslmode = tables.reached(source).sslmode
    return {
        "connector.class": CONNECTOR_CLASS,
        **tables.settings(source),
        "database.dbname": source.database,
        **({"database.sslmode": sslmode} if sslmode else {}),
        "plugin.name": "pgoutput",
        "slot.name": source.slot,
        "slot.drop.on.stop": "false",
        "publication.name": source.slot,
        "publication.autocreate.mode": "disabled",
        "snapshot.isolation.mode": "repeatable_read",
        "snapshot.locking.mode": "none",
        "interval.handling.mode": "string",
        "hstore.handling.mode": "json",
        "include.unknown.datatypes": "true",
        # the slot moves on while only others write, so that PostgreSQL need not keep what they wrote
        "lsn.flush.mode": "connector_and_driver",
    }
