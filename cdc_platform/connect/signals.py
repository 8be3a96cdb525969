"""Telling the connector of a source with tables to read some of them again, while it goes on streaming.

Invariant: rows that are read again never hide a change: Debezium leaves out what changed while it read. They
come as snapshot rows with a place among the events. A row that is not there any more has none: what was
deleted unseen is not found this way.

A name that holds a space, a quote or a dot is never given: Debezium 3.4 writes it into the connector's
position in a form that it cannot read itself, and the task never starts again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, assert_never

import orjson
from psycopg import sql

from cdc_platform.connect import binlog, postgresql
from cdc_platform.connect.config.tables import exactly
from cdc_platform.core.errors import Terminal
from cdc_platform.core.position import Engine
from cdc_platform.core.source import SIGNALS, Source

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")


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
    if others := [name for name in names if not readable(source, name)]:
        raise Terminal(
            f"the connector cannot read {', '.join(others)} by itself: that takes a key, and a name in "
            f"letters, digits, '_' and '-'",
            where=f"source {source.name}",
            remedy=f"read everything again: cdc connector snapshot {source.name}",
        )
    tables = [exactly(source.table(name)) for name in names]
    told = orjson.dumps({"data-collections": tables, "type": "incremental"}).decode()
    _insert(source, (signal_id, "execute-snapshot", told))


def readable(source: Source, name: str) -> bool:
    """Whether the connector can read this one table while it goes on."""
    table = source.table(name)
    plain = all(_PLAIN.fullmatch(part) for part in (table.schema, table.name))
    return plain and source.keys.get(name) != ()


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
