"""The truth: what a PostgreSQL table holds by a snapshot of it.

Invariants
- A position is a snapshot that a transaction of ours holds open (repeatable read, read only), so that every
  reading of it sees the same rows. It ends with the next position, or ``close``.
- The table's lock is held only while it is read: it is taken behind a savepoint and let go with it, so a
  change of the table waits for a reading, never for a whole proof.
- A snapshot does not protect from everything: a table that was truncated, rewritten or altered since cannot
  be read as it was. The catalog as of the snapshot is held against that of now, while the table is locked.

PostgreSQL 14 and later. A transaction that stays open keeps VACUUM from removing what died since: for as long
as a proof takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import psycopg
from psycopg import Connection, sql
from psycopg.abc import Query
from psycopg.conninfo import make_conninfo

from cdc_platform.core.naming import TableId
from cdc_platform.verify.position import PostgresSnapshot, SourcePosition
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.truth import MARKER_LIFE, NotByKey
from cdc_platform.verify.truth.pace import Pace
from cdc_platform.verify.truth.postgresql_catalog import Catalog, read_catalog
from cdc_platform.verify.truth.postgresql_changes import (
    Ground,
    Statement,
    by_key,
    changed,
    ground_of,
    oldest_since,
    server_of,
)
from cdc_platform.verify.truth.postgresql_remedies import remedy_for
from cdc_platform.verify.truth.sql import BATCH_ROWS, Rows, called, key_text
from cdc_platform.verify.verdict import Cause, Unprovable

CONNECT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 60
"""For one statement, of which a reading has many: each fetches some rows."""
COUNT_SECONDS: Final = 600
"""For a statement that goes over the whole table within the server."""
LOCK_SECONDS: Final = 3

_SESSION: Final = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
_SETTINGS: Final = f"SELECT {', '.join(['set_config(%s, %s, false)'] * len(_SESSION))}"
_TAKE: Final = "SELECT pg_current_snapshot()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_LSN: Final = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclass(frozen=True, slots=True)
class _Held:
    """A snapshot, the connection whose transaction holds it, and the table as of then. ``ground``: None if
    the user may not know."""

    connection: Connection[Any]
    at: PostgresSnapshot
    catalog: Catalog
    ground: Ground | None


@dataclass(slots=True)
class PostgresTruth:
    """One table. ``declared``: the columns of a key that the source's declaration gives it. ``renamed``:
    columns that the lake has by another name. Closed by its user."""

    uri: str = field(repr=False)
    database: str
    table: TableId
    markers: TableId
    declared: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    _held: _Held | None = field(default=None, init=False, repr=False)

    def position(self) -> PostgresSnapshot:
        self.close()
        with self._translated("reading its snapshot"):
            connection = self._connected()
            try:
                server = server_of(connection)
                # Before the snapshot: what an incremental snapshot had read by then, the snapshot sees, too.
                (lsn,) = _one(connection, _LSN)
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                at = PostgresSnapshot.parsed(*_snapshot(connection, lsn))
                catalog = read_catalog(connection, self.table)
                if catalog is None:
                    raise self._missing()
            except BaseException:
                connection.close()
                raise
        ground = None if server is None else ground_of(server, catalog, at)
        self._held = _Held(connection, at, catalog, ground)
        return at

    def shape(self) -> Shape:
        return self._at(None).catalog.shape(self._key(self._at(None).catalog)).called(self.renamed)

    def digests(self, at: SourcePosition, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        held = self._at(at)
        rows = self._rows(held)
        yield from rows.digests(self._read(held, self._all(rows)), buckets)

    def of_keys(self, at: SourcePosition, keys: Set[str]) -> Iterator[tuple[str, int]]:
        held = self._at(at)
        rows = self._rows(held)
        yield from rows.digests(self._read(held, self._of_keys(held, keys)))

    def rows(self, at: SourcePosition) -> int:
        ((count,),) = self._read(self._at(at), [(f"SELECT count(*) FROM {self._name}", None)])
        return int(count)

    def ground(self) -> str | None:
        found = self._at(None).ground
        return None if found is None else found.model_dump_json()

    def changed(self, at: SourcePosition, ground: str) -> frozenset[str] | None:
        held = self._at(at)
        oldest = None if held.ground is None else oldest_since(ground, held.ground, held.at)
        if oldest is None:
            return None
        keys, statement = changed(self._rows(held), self._name, oldest)
        return frozenset(map(key_text, keys.documents(self._read(held, [statement]))))

    def documents(self, at: SourcePosition) -> Iterator[dict[str, Any]]:
        """Every row as a mapping of its columns, in the shape that the lake keeps."""
        held = self._at(at)
        rows = self._rows(held)
        yield from rows.documents(self._read(held, self._all(rows)))

    def cells(self, at: SourcePosition, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        held = self._at(at)
        rows = self._rows(held)
        try:
            statements = self._of_keys(held, keys)
        except NotByKey:
            statements = self._all(rows)
        return rows.cells(self._read(held, statements), keys)

    def mark(self, marker: str) -> None:
        """Insert or update a row whose ``id`` is the marker, and remove those older than MARKER_LIFE.

        Age is the server's clock. Markers of other proofs are left alone.
        """
        names = {"markers": sql.Identifier(self.markers.schema, self.markers.name)}
        put = sql.SQL(
            "INSERT INTO {markers} (id, written) VALUES (%s, clock_timestamp()) "
            "ON CONFLICT (id) DO UPDATE SET written = excluded.written"
        ).format(**names)
        drop = sql.SQL("DELETE FROM {markers} WHERE written < clock_timestamp() - %s").format(**names)
        with self._translated(f"writing into {self.markers}"), self._connected() as connection:
            connection.execute(put, (marker,))
            connection.execute(drop, (MARKER_LIFE,))

    def close(self) -> None:
        if self._held is not None:
            self._held.connection.close()
            self._held = None

    @property
    def _name(self) -> str:
        return sql.Identifier(self.table.schema, self.table.name).as_string()

    def _rows(self, held: _Held) -> Rows:
        return called(held.catalog.rows(self._key(held.catalog)), self.renamed)

    def _all(self, rows: Rows) -> list[Statement]:
        return [(f"SELECT {rows.select} FROM {self._name}", None)]

    def _of_keys(self, held: _Held, keys: Set[str]) -> list[Statement]:
        return by_key(self._rows(held), held.catalog, self._key(held.catalog), self._name, keys)

    def _read(self, held: _Held, statements: Sequence[Statement]) -> Iterator[tuple[Any, ...]]:
        """The rows of one statement after the other, under one lock of the table."""
        with (
            self._translated(f"reading it at snapshot {held.at}"),
            held.connection.transaction(force_rollback=True),
        ):
            held.connection.execute(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'".encode())
            for number, (query, given) in enumerate(statements):
                with held.connection.cursor(name="truth") as cursor:
                    cursor.execute(cast(Query, query), given)
                    if not number:
                        self._require_unaltered(held)
                    while batch := cursor.fetchmany(BATCH_ROWS):
                        self.pace.take(len(batch))
                        yield from batch

    def _require_unaltered(self, held: _Held) -> None:
        """Asked while the table is locked: nothing alters it from now on until it is read."""
        with self._connected() as connection:
            now = read_catalog(connection, self.table)
        if now != held.catalog:
            raise Unprovable(
                Cause.SNAPSHOT_EXPIRED,
                "the table was truncated, rewritten or altered since the position was taken",
                where=self._where,
                remedy="prove again",
            )

    def _at(self, at: SourcePosition | None) -> _Held:
        if self._held is None or (at is not None and at != self._held.at):
            raise Unprovable(
                Cause.SNAPSHOT_EXPIRED,
                "that snapshot is not held open any more",
                where=self._where,
                remedy="prove again",
            )
        return self._held

    def _key(self, catalog: Catalog) -> tuple[str, ...]:
        return catalog.key if self.declared is None else self.declared

    def _connected(self) -> Connection[Any]:
        conninfo = make_conninfo(
            self.uri,
            dbname=self.database,
            connect_timeout=CONNECT_SECONDS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=(STATEMENT_SECONDS + LOCK_SECONDS) * 1000,
            application_name="cdc-platform proof",
        )
        connection = psycopg.connect(conninfo, autocommit=True)
        connection.execute(_SETTINGS.encode(), [each for pair in _SESSION.items() for each in pair])
        return connection

    @property
    def _where(self) -> str:
        return f"PostgreSQL, table {self.database}.{self.table}"

    def _missing(self) -> Unprovable:
        return Unprovable(
            Cause.SOURCE_UNREACHABLE,
            "the table does not exist",
            where=self._where,
            remedy="create the table or take it out of the source's declaration",
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            cause, remedy = remedy_for(error, self.markers)
            raise Unprovable(
                cause, f"PostgreSQL failed while {doing}: {error}", where=self._where, remedy=remedy
            ) from error


def _one(connection: Connection[Any], query: str) -> tuple[Any, ...]:
    found = connection.execute(cast(Query, query)).fetchone()
    assert found is not None
    return tuple(found)


def _snapshot(connection: Connection[Any], lsn: int) -> tuple[str, int, int]:
    text, at_ms = _one(connection, _TAKE)
    return text, lsn, at_ms
