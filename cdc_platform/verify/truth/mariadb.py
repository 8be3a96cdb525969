"""The truth: what a table of MariaDB or MySQL holds by a consistent snapshot.

Invariants
- A position is a consistent snapshot that a transaction of ours holds open, so that every reading of it sees
  the same rows. It ends with the next position, or ``close``.
- The table's metadata lock is held only while it is read: it is taken behind a savepoint and let go with it,
  so an ALTER TABLE waits for a reading, not for a whole proof. MariaDB lets go of it only in a session that
  writes no binlog, which takes the privilege BINLOG ADMIN; without it an ALTER TABLE waits for the proof.
- Only InnoDB keeps what a snapshot needs; a table of another engine cannot be proven. InnoDB itself refuses
  to read a table that was rewritten or truncated since the snapshot, but not one that has a new column under
  an old one's name: the catalog before the snapshot is held against that of now, while the table is locked.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pymysql
from pymysql.converters import encoders
from pymysql.cursors import SSCursor

from cdc_platform.core.address import Address, address
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.truth import MARKER_LIFE, NotByKey
from cdc_platform.verify.truth.mariadb_keys import Statement, by_key
from cdc_platform.verify.truth.mariadb_moment import Connection, opener, rows
from cdc_platform.verify.truth.mariadb_remedies import remedy_for
from cdc_platform.verify.truth.mariadb_types import MariaType, is_read_inexactly, kind_of_type
from cdc_platform.verify.truth.pace import Pace
from cdc_platform.verify.truth.sql import BATCH_ROWS, Column, Rows, called, parts_of
from cdc_platform.verify.verdict import Cause, Unprovable

CONNECT_SECONDS: Final = 10
ANSWER_SECONDS: Final = 60
"""For one answer, of which a reading has many: rows are read as they come."""
LOCK_SECONDS: Final = 3

_SESSION: Final = (
    f"SET SESSION time_zone = '+00:00', lock_wait_timeout = {LOCK_SECONDS}, "
    f"innodb_lock_wait_timeout = {LOCK_SECONDS}, wait_timeout = 28800, net_write_timeout = 600, sql_mode = ''"
)
_COLUMNS: Final = """
    SELECT column_name, data_type, column_type, is_nullable, numeric_precision
    FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
_KEY: Final = """
    SELECT column_name FROM information_schema.statistics
    WHERE table_schema = %s AND table_name = %s AND index_name = 'PRIMARY' ORDER BY seq_in_index
"""
_ENGINE: Final = """
    SELECT engine, create_time FROM information_schema.tables
    WHERE table_schema = %s AND table_name = %s AND table_type = 'BASE TABLE'
"""
_ENCODERS: Final[dict[Any, Any]] = dict(encoders.items())
"""Without the decoders that come with them."""
_TITLES: Final = {Engine.MARIADB: "MariaDB", Engine.MYSQL: "MySQL"}


@dataclass(frozen=True, slots=True)
class _Catalog:
    """``made``: when the table came to be, or was altered last."""

    made: str
    types: dict[str, MariaType]
    key: tuple[str, ...]

    @property
    def rows(self) -> Rows:
        columns = [Column(name, quoted(name), kind_of_type(each)) for name, each in self.types.items()]
        return Rows(columns, self.key)


@dataclass(frozen=True, slots=True)
class _Held:
    """A snapshot, the connection whose transaction holds it, and the table as of then."""

    connection: Connection
    at: SourcePosition
    catalog: _Catalog


@dataclass(slots=True)
class MariaTruth:
    """One table. ``engine``: MARIADB or MYSQL. ``declared``: the columns of a key that the source's
    declaration gives it. ``renamed``: columns that the lake has by another name. Closed by its user."""

    engine: Engine
    uri: str = field(repr=False)
    table: TableId
    markers: TableId
    declared: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    _held: _Held | None = field(default=None, init=False, repr=False)

    def position(self) -> SourcePosition:
        self.close()
        with self._translated("taking its snapshot"):
            connection = self._connected()
            try:
                _write_no_binlog(connection)
                catalog = self._catalog(connection)
                at = opener(self.engine)(connection)
            except BaseException:
                connection.close()
                raise
        self._held = _Held(connection, at, catalog)
        return at

    def shape(self) -> Shape:
        catalog = self._at(None).catalog
        texts = {name: kind_of_type(each).text for name, each in catalog.types.items()}
        inexact = [name for name, each in catalog.types.items() if is_read_inexactly(each)]
        remark = (
            f"Of {', '.join(inexact)} an initial snapshot reads six digits only, as the server prints a "
            "FLOAT: the next change of such a row mends it, or ALTER TABLE … DOUBLE and a snapshot."
        )
        return Shape(texts, bool(catalog.key), (remark,) if inexact else ()).called(self.renamed)

    def digests(self, at: SourcePosition, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        held = self._at(at)
        yield from called(held.catalog.rows, self.renamed).digests(self._read(held, self._all(held)), buckets)

    def of_keys(self, at: SourcePosition, keys: Set[str]) -> Iterator[tuple[str, int]]:
        held = self._at(at)
        rows = called(held.catalog.rows, self.renamed)
        yield from rows.digests(self._read(held, self._of_keys(held, rows, keys)))

    def rows(self, at: SourcePosition) -> int:
        ((count,),) = self._read(self._at(at), [(f"SELECT COUNT(*) FROM {self._name}", None)])
        return int(count)

    def ground(self) -> None:
        """A row's transaction is hidden in InnoDB: the server does not tell which rows have changed."""
        return

    def changed(self, at: SourcePosition, ground: str) -> None:
        del at, ground

    def documents(self, at: SourcePosition) -> Iterator[dict[str, Any]]:
        """Every row as a mapping of its columns, in the shape that the lake keeps."""
        held = self._at(at)
        yield from called(held.catalog.rows, self.renamed).documents(self._read(held, self._all(held)))

    def cells(self, at: SourcePosition, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        held = self._at(at)
        rows = called(held.catalog.rows, self.renamed)
        try:
            statements = self._of_keys(held, rows, keys)
        except NotByKey:
            statements = self._all(held)
        return rows.cells(self._read(held, statements), keys)

    def mark(self, marker: str) -> None:
        """Insert or update a row whose ``id`` is the marker, and remove those older than MARKER_LIFE.

        Age is the server's clock. Markers of other proofs are left alone.
        """
        markers = f"{quoted(self.markers.schema)}.{quoted(self.markers.name)}"
        put = (
            f"INSERT INTO {markers} (id, written) VALUES (%s, NOW(6)) "
            "ON DUPLICATE KEY UPDATE written = VALUES(written)"
        )
        drop = f"DELETE FROM {markers} WHERE written < NOW(6) - INTERVAL %s SECOND"
        with self._translated(f"writing into {self.markers}"), closing(self._connected()) as connection:
            rows(connection, put, marker)
            rows(connection, drop, int(MARKER_LIFE.total_seconds()))

    def close(self) -> None:
        if self._held is not None:
            self._held.connection.close()
            self._held = None

    @property
    def _name(self) -> str:
        return f"{quoted(self.table.schema)}.{quoted(self.table.name)}"

    def _all(self, held: _Held) -> list[Statement]:
        return [(f"SELECT {held.catalog.rows.select} FROM {self._name}", None)]

    def _of_keys(self, held: _Held, known: Rows, keys: Set[str]) -> list[Statement]:
        columns = [(name, quoted(name), held.catalog.types[name]) for name in held.catalog.key]
        head = f"SELECT {held.catalog.rows.select} FROM {self._name}"
        return by_key(head, columns, parts_of(sorted(keys), known.key))

    def _read(self, held: _Held, statements: Sequence[Statement]) -> Iterator[tuple[Any, ...]]:
        """The rows of one statement after the other, under one lock of the table."""
        with self._translated(f"reading it at {held.at}"):
            rows(held.connection, "SAVEPOINT reading")
            for number, (query, given) in enumerate(statements):
                with held.connection.cursor(SSCursor) as cursor:
                    cursor.execute(query, given)
                    if not number:
                        self._require_unaltered(held)
                    while batch := cursor.fetchmany(BATCH_ROWS):
                        self.pace.take(len(batch))
                        yield from batch
            rows(held.connection, "ROLLBACK TO SAVEPOINT reading")

    def _require_unaltered(self, held: _Held) -> None:
        """Asked while the table is locked: nothing alters it from now on until it is read."""
        with closing(self._connected()) as connection:
            now = self._catalog(connection)
        if now != held.catalog:
            what = "the table was altered since the position was taken"
            raise self._unprovable(what, "prove again", Cause.SNAPSHOT_EXPIRED)

    def _catalog(self, connection: Connection) -> _Catalog:
        name = (self.table.schema, self.table.name)
        engines = rows(connection, _ENGINE, *name)
        if not engines:
            raise self._unprovable(
                "the table does not exist",
                "create the table or take it out of the source's declaration",
            )
        [(engine, made)] = engines
        if str(engine).lower() != "innodb":
            raise self._unprovable(
                f"its storage engine {engine} keeps no snapshots", "ALTER TABLE … ENGINE=InnoDB"
            )
        types = {
            column: MariaType(
                kind, declared, nullable == "YES", None if precision is None else int(precision)
            )
            for column, kind, declared, nullable, precision in rows(connection, _COLUMNS, *name)
        }
        key = tuple(column for (column,) in rows(connection, _KEY, *name))
        return _Catalog(str(made), types, key if self.declared is None else self.declared)

    def _at(self, at: SourcePosition | None) -> _Held:
        if self._held is None or (at is not None and at != self._held.at):
            raise self._unprovable(
                "that snapshot is not held open any more", "prove again", Cause.SNAPSHOT_EXPIRED
            )
        return self._held

    def _connected(self) -> Connection:
        """One that gives values as they are sent, texts and bytes: nothing is to be made of them here."""
        given = address(self.engine, self.uri)
        return pymysql.connect(
            host=given.host,
            port=given.port,
            user=given.user,
            password=given.password,
            charset="utf8mb4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            write_timeout=ANSWER_SECONDS,
            ssl=_encryption(given),
            init_command=_SESSION,
            autocommit=True,
            conv=_ENCODERS,
        )

    def _unprovable(self, what: str, remedy: str, cause: Cause = Cause.SOURCE_UNREACHABLE) -> Unprovable:
        return Unprovable(cause, what, where=f"{_TITLES[self.engine]}, table {self.table}", remedy=remedy)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except pymysql.MySQLError as error:
            cause, remedy = remedy_for(error, self.markers)
            said = error.args[-1] if error.args else error
            what = f"{_TITLES[self.engine]} failed while {doing}: {said}"
            raise self._unprovable(what, remedy, cause) from error


def _write_no_binlog(connection: Connection) -> None:
    with suppress(pymysql.MySQLError):  # not allowed: then the lock is held for longer
        rows(connection, "SET SESSION sql_log_bin = 0")


def quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _encryption(given: Address) -> ssl.SSLContext | None:
    """As the connector does it: trusted and required go without looking at the certificate."""
    if given.sslmode in ("", "disable", "disabled", "preferred"):
        return None
    context = ssl.create_default_context()
    context.check_hostname = given.sslmode in ("verify-full", "verify_identity")
    if given.sslmode in ("trust", "required"):
        context.verify_mode = ssl.CERT_NONE
    return context
