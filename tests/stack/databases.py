"""A PostgreSQL and a MariaDB database that a test has for itself, under one roof."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import pymysql

from cdc_platform.core.address import address
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.verify.truth.mariadb import MariaTruth
from cdc_platform.verify.truth.postgresql import PostgresTruth

MARKERS = "cdc_markers"


class Session(Protocol):
    """A connection that commits each statement outside of a transaction."""

    def run(self, statement: str) -> list[tuple[Any, ...]]: ...

    def transaction_id(self) -> str:
        """Of the transaction that is open (PostgreSQL) or was committed last (MariaDB), as events tell it."""
        ...


@dataclass(frozen=True, slots=True)
class PostgresSession:
    connection: psycopg.Connection[Any]

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def transaction_id(self) -> str:
        return str(self.run("SELECT pg_current_xact_id()::text::bigint % 4294967296")[0][0])


@dataclass(frozen=True, slots=True)
class MariaSession:
    connection: Any

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def transaction_id(self) -> str:
        return str(self.run("SELECT @@last_gtid")[0][0])


@dataclass(frozen=True, slots=True)
class Database:
    """``space``: the schema (PostgreSQL) or the database (MariaDB) that is the test's own."""

    engine: Engine
    uri: str
    space: str

    @contextmanager
    def session(self) -> Iterator[Session]:
        given = address(self.engine, self.uri)
        if self.engine is Engine.POSTGRESQL:
            options = f"-c search_path={self.space},public -c lock_timeout=2s"
            with psycopg.connect(self.uri, autocommit=True, options=options) as connection:
                yield PostgresSession(connection)
            return
        connected = pymysql.connect(
            host=given.host,
            port=given.port,
            user=given.user,
            password=given.password,
            database=self.space,
            charset="utf8mb4",
            autocommit=True,
            # Without gaps' locks, as PostgreSQL: writers of different rows do not get in each other's way.
            init_command="SET SESSION lock_wait_timeout = 2, sql_mode = 'ALLOW_INVALID_DATES', "
            "transaction_isolation = 'READ-COMMITTED'",
        )
        with closing(connected) as connection:
            yield MariaSession(connection)

    def run(self, *statements: str) -> None:
        with self.session() as session:
            for statement in statements:
                session.run(statement)

    def truth(self, table: str, key: tuple[str, ...] | None = None) -> PostgresTruth | MariaTruth:
        names = TableId(self.space, table), TableId(self.space, MARKERS)
        if self.engine is Engine.POSTGRESQL:
            return PostgresTruth(self.uri, address(self.engine, self.uri).database, *names, key)
        return MariaTruth(self.engine, self.uri, *names, key)


@contextmanager
def database(engine: Engine, uri: str) -> Iterator[Database]:
    """Of a unique name; gone afterwards."""
    space = f"t{uuid.uuid4().hex[:12]}"
    kind = "SCHEMA" if engine is Engine.POSTGRESQL else "DATABASE"
    outside = Database(engine, uri, "public" if engine is Engine.POSTGRESQL else "mysql")
    outside.run(f"CREATE {kind} {space}")
    try:
        yield Database(engine, uri, space)
    finally:
        outside.run(f"DROP {kind} {space}{' CASCADE' if engine is Engine.POSTGRESQL else ''}")
