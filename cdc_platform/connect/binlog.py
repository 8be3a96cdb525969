"""Connections to a MariaDB or MySQL source, for preparing and watching it.

Invariants
- Every wait is bounded: for the connection, each answer, and each lock.
- The driver's errors leave as the platform's, without a password; what a person has to do is in their remedy.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import pymysql
from pymysql.connections import Connection as _Connection
from pymysql.constants import CR, ER
from pymysql.cursors import Cursor

from cdc_platform.core.address import Address, address
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

Connection: TypeAlias = "_Connection[Cursor]"

TITLES: Final = {Engine.MARIADB: "MariaDB", Engine.MYSQL: "MySQL"}

_LOCKS: Final = 5
"""Seconds to wait for a table's lock: who comes after us waits as long, too."""


@contextmanager
def opened(source: Source, patience: float = 10.0) -> Iterator[Connection]:
    """A connection that commits each statement. ``patience``: seconds to connect, and for each answer.

    Raises Transient if the server does not answer in time, Terminal for what a person has to change.
    """
    given = address(source.engine, source.uri)
    try:
        connection = pymysql.connect(
            host=given.host,
            port=given.port,
            user=given.user,
            password=given.password,
            database=source.database,
            charset="utf8mb4",
            connect_timeout=max(1, int(patience)),
            read_timeout=patience,
            write_timeout=patience,
            ssl=_encryption(given),
            init_command=f"SET SESSION lock_wait_timeout = {_LOCKS}",
            autocommit=True,
        )
        try:
            yield connection
        finally:
            connection.close()
    except pymysql.MySQLError as error:
        raise _named(source, error) from error


def where(source: Source) -> str:
    """Source and server; never the connection string, which may hold a password."""
    return f"source {source.name}, database {source.database} at {address(source.engine, source.uri)}"


def rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """``query``: with ``%s`` for each value."""
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


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


def _named(source: Source, error: pymysql.MySQLError) -> Terminal | Transient:
    title, at = TITLES[source.engine], where(source)
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    if remedy := _KNOWN.get(code):
        return Terminal(f"{title} refuses: {said}", where=at, remedy=remedy)
    if code == ER.LOCK_WAIT_TIMEOUT:
        return Transient(
            f"{title} did not do it in time: {said}",
            where=at,
            remedy="try again when the transactions that hold the table's locks have ended",
        )
    if code in _UNREACHABLE or isinstance(error, pymysql.InterfaceError):
        return Transient(
            f"{title} does not answer: {said}",
            where=at,
            remedy="start it, or correct uri in the declaration of the source",
        )
    return Terminal(f"{title} refuses: {said}", where=at, remedy=f"correct what {title} names")


_UNREACHABLE: Final = (
    CR.CR_CONN_HOST_ERROR,
    CR.CR_CONNECTION_ERROR,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    CR.CR_UNKNOWN_HOST,
    ER.SERVER_SHUTDOWN,
    ER.CON_COUNT_ERROR,
)
_KNOWN: Final = {
    ER.ACCESS_DENIED_ERROR: "correct the user or its password in uri",
    ER.DBACCESS_DENIED_ERROR: "grant the user of the source SELECT on that database, or correct `database`",
    ER.BAD_DB_ERROR: "correct `database` in the declaration of the source, or create that database",
}
