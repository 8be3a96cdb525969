"""Telling the connector of a source to read some of its rows again, while it goes on streaming.

Invariants
- Rows that are read again never hide a change: Debezium leaves out what changed while it read. They come as
  snapshot rows with a place among the events. A row that is not there any more has none: what was deleted
  unseen is not found this way.
- A signal is one row of the captured table SIGNALS, so the connector comes to it at one place of the stream.
  The connector adds two rows for each part that it reads. Rows go once they were heard, so that the table
  stays small. What a row said stays in the database's log: one that goes early is heard all the same.
- A name that holds a space, a quote or a dot is never given of a table: Debezium 3.4 writes it into the
  connector's position in a form that it cannot read itself, and the task never starts again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import orjson
from psycopg import sql

from cdc_platform.connect import binlog, mongodb, postgresql
from cdc_platform.connect.config import connector_config
from cdc_platform.connect.config.tables import exactly
from cdc_platform.connect.rows_by_key import conditions, whole
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.core.source import SIGNALS, Source

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_KIND: Final = "execute-snapshot"
_WINDOWS: Final = ("snapshot-window-open", "snapshot-window-close")
FORGOTTEN_AT_ONCE: Final = 10_000
_HEARD: Final = "signal.data.collection"
"""The setting of a connector that hears of signals."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one signal asks for: tables, and the condition that their rows have to meet, empty for none."""

    names: tuple[str, ...]
    condition: str = ""


def read_again(source: Source, names: Sequence[str], signal_id: str) -> None:
    """Have these tables read by the connector. Returns when that is told in the database, not when done.

    ``signal_id``: of this call alone. Raises Terminal for a table that the connector cannot read by itself,
    Transient if the database does not answer.
    """
    for number, ask in enumerate(asks(source, names)):
        tell(source, ask, f"{signal_id}-{number}")


def asks(source: Source, names: Sequence[str], keys: Sequence[str] | None = None) -> list[Ask]:
    """The signals it takes to have tables read again, or of one table the rows with these keys. None are
    needed for no keys. Raises as ``read_again``, and Terminal for a key that cannot be expressed.
    """
    _require_readable(source, names)
    if keys is not None:
        [name] = names
        return [Ask((name,), each) for each in conditions(source, name, keys)]
    if source.engine is Engine.MONGODB:
        return [Ask((name,), each) for name in names for each in whole(source, name)]
    return [Ask(tuple(names))]


def _require_readable(source: Source, names: Sequence[str]) -> None:
    if others := [name for name in names if not readable(source, name)]:
        raise Terminal(
            f"the connector cannot read {', '.join(others)} by itself: that takes a key, and a name in "
            f"letters, digits, '_' and '-'",
            where=f"source {source.name}",
            remedy=f"read everything again: cdc connector snapshot {source.name}",
        )


def tell(source: Source, ask: Ask, signal_id: str) -> None:
    """One signal. ``signal_id``: of this signal alone. Raises Transient if the database does not answer."""
    tables = [_named(source, name) for name in ask.names]
    told: dict[str, object] = {"data-collections": tables, "type": "incremental"}
    if ask.condition:
        told["additional-conditions"] = [
            {"data-collection": each, "filter": ask.condition} for each in tables
        ]
    _insert(source, signal_id, told)


def readable(source: Source, name: str) -> bool:
    """Whether the connector can read this one table while it goes on."""
    table = source.table(name)
    if source.engine is Engine.MONGODB:
        return True
    plain = all(_PLAIN.fullmatch(part) for part in (table.schema, table.name))
    return plain and source.keys.get(name) != ()


def require_heard(source: Source, config: Mapping[str, str]) -> None:
    """Raise Terminal if a connector with these settings does not hear of signals."""
    if config.get(_HEARD) != connector_config(source)[_HEARD]:
        raise Terminal(
            "the connector was deployed before it could be told to read rows again",
            where=f"connector {source.connector}",
            remedy=f"apply its settings, which loses nothing: cdc connector apply {source.name}",
        )


def _named(source: Source, name: str) -> str:
    """As the signal names a table: a regular expression.

    Of MongoDB it has to be the plain name as well: Debezium takes the text itself for the name of a
    collection of which it has seen no document yet, and never comes back from one that cannot be. A dot in it
    stands for any character then; whatever else that takes is read, too, which changes nothing.
    """
    table = source.table(name)
    return f"{source.database}.{table.name}" if source.engine is Engine.MONGODB else exactly(table)


def there(source: Source, *, windows: bool = False) -> list[str]:
    """Ids of signals, at most FORGOTTEN_AT_ONCE; of those alone that the connector gave itself (``windows``).
    Raises CdcError."""
    table = source.table(SIGNALS)
    match source.engine:
        case Engine.MONGODB:
            with mongodb.opened(source) as client:
                kinds = {"type": {"$in": list(_WINDOWS)}} if windows else {}
                rows = client[source.database][table.name].find(kinds, {"_id": 1}, limit=FORGOTTEN_AT_ONCE)
                return [each["_id"] for each in rows if isinstance(each["_id"], str)]
        case Engine.POSTGRESQL | Engine.MARIADB | Engine.MYSQL:
            wanted = " WHERE type IN (%s, %s)" if windows else ""
            query = f"SELECT id FROM {_full(source)}{wanted} LIMIT {FORGOTTEN_AT_ONCE}"
            return [found for (found,) in _run(source, query, *(_WINDOWS if windows else ()))]
        case _:
            assert_never(source.engine)


def forget(source: Source, ids: Sequence[str]) -> None:
    """Remove signals that were heard. ``ids``: those that are gone already do no harm. Raises CdcError."""
    if not ids:
        return
    match source.engine:
        case Engine.MONGODB:
            with mongodb.opened(source) as client:
                client[source.database][source.table(SIGNALS).name].delete_many({"_id": {"$in": list(ids)}})
        case Engine.POSTGRESQL | Engine.MARIADB | Engine.MYSQL:
            marks = ", ".join(["%s"] * len(ids))
            _run(source, f"DELETE FROM {_full(source)} WHERE id IN ({marks})", *ids)
        case _:
            assert_never(source.engine)


def _full(source: Source) -> str:
    table = source.table(SIGNALS)
    if source.engine is Engine.POSTGRESQL:
        return sql.Identifier(table.schema, table.name).as_string()
    return f"{binlog.quoted(table.schema)}.{binlog.quoted(table.name)}"


def _run(source: Source, query: str, *values: object) -> list[tuple[Any, ...]]:
    if source.engine is Engine.POSTGRESQL:
        with postgresql.opened(source) as connection:
            return postgresql.rows(connection, query, *values)
    with binlog.opened(source) as reached:
        return binlog.rows(reached, query, *values)


def _insert(source: Source, signal_id: str, told: dict[str, object]) -> None:
    table = source.table(SIGNALS)
    row = (signal_id, _KIND, orjson.dumps(told).decode())
    match source.engine:
        case Engine.POSTGRESQL | Engine.MARIADB | Engine.MYSQL:
            _run(source, f"INSERT INTO {_full(source)} (id, type, data) VALUES (%s, %s, %s)", *row)
        case Engine.MONGODB:
            _insert_document(source, table, {"_id": signal_id, "type": _KIND, "data": told})
        case _:
            assert_never(source.engine)


def _insert_document(source: Source, table: TableId, signal: dict[str, object]) -> None:
    with mongodb.opened(source) as client:
        client[source.database][table.name].insert_one(signal)
