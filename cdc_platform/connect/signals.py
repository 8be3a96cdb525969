"""Telling the connector of a source with tables to read some of them again, while it goes on streaming.

Invariant: rows that are read again never hide a change: Debezium leaves out what changed while it read. They
come as snapshot rows with a place among the events. A row that is not there any more has none: what was
deleted unseen is not found this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import orjson
from psycopg import sql

from cdc_platform.connect import binlog, postgresql
from cdc_platform.connect.config.tables import exactly
from cdc_platform.core.errors import Terminal
from cdc_platform.core.position import Engine
from cdc_platform.core.source import SIGNALS, Source


def read_again(source: Source, names: Sequence[str], signal_id: str) -> None:
    """Have these tables read by the connector. Returns when that is told in the database, not when done.

    ``signal_id``: of this signal alone. Raises Terminal for a table whose rows nothing identifies and for
    MongoDB, Transient if the database does not answer.
    """
    if source.engine is Engine.MONGODB:
        raise Terminal(
            "single collections of MongoDB are not read again by their connector",
            where=f"source {source.name}",
            remedy="cdc reconcile TABLE reads one again; cdc connector snapshot reads all",
        )
    if keyless := [name for name in names if source.keys.get(name) == ()]:
        raise Terminal(
            f"the connector reads a table again by its key, and {', '.join(keyless)} has none",
            where=f"source {source.name}",
            remedy="read everything again: cdc connector snapshot without --table",
        )
    tables = [exactly(source.table(name)) for name in names]
    told = orjson.dumps({"data-collections": tables, "type": "incremental"}).decode()
    _insert(source, (signal_id, "execute-snapshot", told))


def _insert(source: Source, row: tuple[str, str, str]) -> None:
    table = source.table(SIGNALS)
    match source.engine:
        case Engine.POSTGRESQL:
            full = sql.Identifier(table.schema, table.name).as_string()
            with postgresql.opened(source) as connection:
                connection.execute(f"INSERT INTO {full} (id, type, data) VALUES (%s, %s, %s)".encode(), row)
        case Engine.MARIADB | Engine.MYSQL:
            full = f"{binlog.quoted(table.schema)}.{binlog.quoted(table.name)}"
            with binlog.opened(source) as reached:
                binlog.rows(reached, f"INSERT INTO {full} (id, type, data) VALUES (%s, %s, %s)", *row)
        case Engine.MONGODB:
            raise AssertionError("MongoDB has no signal table")
        case _:
            assert_never(source.engine)
