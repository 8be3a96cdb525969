"""Which collections a database has now, and which of them are still those that were captured.

A collection or table that is dropped or renamed sends no event (Debezium 3.4), so nothing in the stream tells
that its lake table will never change again. MongoDB gives each collection a UUID, PostgreSQL each table an
oid: a name that comes back has another one. MariaDB and MySQL have nothing of the kind that outlives TRUNCATE
and ALTER TABLE: there a table is noticed that is gone at a look, not one that was made again between two.

Invariant: a change is acted upon before it is forgotten, and forgotten then: who lets the table go on is not
asked about it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, assert_never

from pydantic import TypeAdapter, ValidationError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from cdc_platform.connect import binlog, postgresql
from cdc_platform.connect.slots import require_streamed
from cdc_platform.core.errors import Transient
from cdc_platform.core.masking import masked
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.core.source import MARKERS, SIGNALS, Source

Identities = Mapping[str, str]
"""Collection, by the name it is known by → what another of this name would not have."""

_KEPT: Final = TypeAdapter(dict[str, str])

_GONE: Final = (
    "its lake table keeps the rows it had. If that is meant, take it out of the source's "
    "declaration; if it was renamed, declare its new name, which becomes a table of its own"
)
_ANOTHER: Final = (
    "its lake table has the rows of the former one, too. To begin anew: cdc rebuild TABLE --from source; "
    "or let it go on (cdc resume) if the rows of both belong in it"
)


_TABLES: Final = """
SELECT n.nspname, c.relname, c.oid::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema$)'
"""


def identities(source: Source, patience: float = 5.0) -> dict[str, str]:
    """Every collection or table of the database but the platform's own.

    ``patience``: seconds for the server to answer. Raises Transient if it does not, Terminal if it refuses,
    or if changes are missing from PostgreSQL's stream.
    """
    match source.engine:
        case Engine.MONGODB:
            return _of_mongodb(source, patience)
        case Engine.POSTGRESQL:
            with postgresql.opened(source, patience) as connection:
                require_streamed(source, connection)
                found = [(TableId(*each), oid) for *each, oid in postgresql.rows(connection, _TABLES)]
        case Engine.MARIADB | Engine.MYSQL:
            with binlog.opened(source, patience) as connection:
                listed = binlog.rows(
                    connection,
                    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s "
                    "AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')",
                    source.database,
                )
                found = [(TableId(source.database, name), "there") for (name,) in listed]
        case _:
            assert_never(source.engine)
    own = {source.table(MARKERS), source.table(SIGNALS)}
    return {
        name: identity
        for table, identity in found
        if table not in own and (name := source.known_as(table)) is not None
    }


def _of_mongodb(source: Source, patience: float) -> dict[str, str]:
    milliseconds = int(patience * 1000)
    try:
        with MongoClient[dict[str, object]](
            source.uri, serverSelectionTimeoutMS=milliseconds, timeoutMS=milliseconds
        ) as client:
            listed = client[source.database].list_collections(filter={"type": "collection"})
            return {str(each["name"]): each["info"]["uuid"].hex() for each in listed}
    except PyMongoError as error:
        raise Transient(
            f"MongoDB did not list the collections: {error}",
            where=f"database {source.database} at {masked(source.uri)}",
            remedy="check that the server runs and that the user may list collections",
        ) from error


class KnownCollections:
    """The identities seen last, in a file. Losing it loses the notice of what happened meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def changes(self, tables: Sequence[str], found: Identities) -> dict[str, str]:
        """What happened to ``tables`` since ``keep``: table → what, and what to do."""
        known = self._read()
        return {name: why for name in tables if (why := _changed(known.get(name), found.get(name)))}

    def keep(self, tables: Sequence[str], found: Identities) -> None:
        """From now on these are the collections that are known."""
        if (seen := {name: found[name] for name in tables if name in found}) != self._read():
            self._write(seen)

    def _read(self) -> dict[str, str]:
        try:
            return _KEPT.validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return {}

    def _write(self, known: Identities) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(_KEPT.dump_json(dict(known)))
        draft.replace(self._path)


def _changed(known: str | None, found: str | None) -> str | None:
    if known is None or known == found:
        return None
    if found is None:
        return f"it was dropped or renamed in the source; {_GONE}"
    return f"it was dropped and made again in the source, or another took its name; {_ANOTHER}"
