"""The table that proofs are measured with, in its source: filled, changed, and read as a proof reads it.

Rows of ``id`` (in MongoDB ``_id``) from 0 on, with ``v`` = id + 0.5 and ``name`` = "name " and id % 977.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
import pymysql

from cdc_platform.core.address import address
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.mariadb import MariaTruth
from cdc_platform.verify.truth.mongodb import MongoTruth, connect
from cdc_platform.verify.truth.postgresql import PostgresTruth

TABLE: Final = "bench_proof"
ONE_IN: Final = 100
"""Of so many rows one changes, all over the table."""

_STEP: Final = 250_000


class Source(Protocol):
    def fill(self, rows: int) -> None:
        """Makes the table anew."""
        ...

    def change(self) -> None:
        """``v`` = id + 0.25 in one of ONE_IN rows."""
        ...

    def truth(self) -> AbstractContextManager[Truth]: ...


def source(engine: Engine, uri: str) -> Source:
    kinds: dict[Engine, type[Postgres] | type[Mongo] | type[Maria]] = {
        Engine.POSTGRESQL: Postgres,
        Engine.MONGODB: Mongo,
        Engine.MARIADB: Maria,
    }
    return kinds[engine](uri)


@dataclass(frozen=True, slots=True)
class Postgres:
    uri: str

    def fill(self, rows: int) -> None:
        made = "SELECT n, n + 0.5, 'name ' || n %% 977 FROM generate_series(0, %s::bigint - 1) n"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {TABLE}".encode())
            connection.execute(
                f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, v double precision, name text)".encode()
            )
            connection.execute(f"INSERT INTO {TABLE} {made}".encode(), (rows,))
            connection.execute(f"VACUUM ANALYZE {TABLE}".encode())

    def change(self) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"UPDATE {TABLE} SET v = id + 0.25 WHERE id % {ONE_IN} = 0".encode())

    @contextmanager
    def truth(self) -> Iterator[Truth]:
        names = TableId("public", TABLE), TableId("public", "cdc_markers")
        with closing(PostgresTruth(self.uri, self.uri.rpartition("/")[2], *names)) as truth:
            yield truth


@dataclass(frozen=True, slots=True)
class Mongo:
    uri: str

    def fill(self, rows: int) -> None:
        with connect(self.uri) as client:
            collection = client["bench"][TABLE]
            collection.drop()
            for start in range(0, rows, 10_000):
                collection.insert_many(
                    {"_id": n, "v": n + 0.5, "name": f"name {n % 977}"}
                    for n in range(start, min(rows, start + 10_000))
                )

    def change(self) -> None:
        with connect(self.uri) as client:
            client["bench"][TABLE].update_many(
                {"_id": {"$mod": [ONE_IN, 0]}}, [{"$set": {"v": {"$add": ["$_id", 0.25]}}}]
            )

    @contextmanager
    def truth(self) -> Iterator[Truth]:
        with connect(self.uri) as client:
            yield MongoTruth(client, "bench", TABLE)


@dataclass(frozen=True, slots=True)
class Maria:
    uri: str

    def fill(self, rows: int) -> None:
        self._run(
            f"DROP TABLE IF EXISTS {TABLE}",
            f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, v double, name varchar(20))",
            *(
                f"INSERT INTO {TABLE} SELECT seq, seq + 0.5, CONCAT('name ', seq % 977) "
                f"FROM seq_{start}_to_{min(rows, start + _STEP) - 1}"
                for start in range(0, rows, _STEP)
            ),
        )

    def change(self) -> None:
        self._run(f"UPDATE {TABLE} SET v = id + 0.25 WHERE id % {ONE_IN} = 0")

    @contextmanager
    def truth(self) -> Iterator[Truth]:
        schema = address(Engine.MARIADB, self.uri).database
        names = TableId(schema, TABLE), TableId(schema, "cdc_markers")
        with closing(MariaTruth(Engine.MARIADB, self.uri, *names)) as truth:
            yield truth

    def _run(self, *statements: str) -> None:
        given = address(Engine.MARIADB, self.uri)
        with closing(
            pymysql.connect(
                host=given.host,
                port=given.port,
                user=given.user,
                password=given.password,
                database=given.database,
                autocommit=True,
            )
        ) as connection:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
