"""Connections to a PostgreSQL source, for preparing and watching it.

Invariants
- Every wait is bounded: for the connection, each statement, and each lock, so that nothing here holds up
  the source's applications for longer.
- The driver's errors leave as the platform's, without a password; what a person has to do is in their remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors

from cdc_platform.core.address import address
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.source import Source

Connection = psycopg.Connection[tuple[Any, ...]]

_LOCKS: Final = 5.0
"""Seconds to wait for a table's lock: who comes after us waits as long, too."""


@contextmanager
def opened(source: Source, patience: float = 10.0) -> Iterator[Connection]:
    """A connection that commits each statement. ``patience``: seconds to connect, and for each statement.

    Raises Transient if the server does not answer in time, Terminal for what a person has to change.
    """
    given = address(source.engine, source.uri)
    limits = {"statement_timeout": patience, "lock_timeout": min(_LOCKS, patience)}
    try:
        with psycopg.connect(
            host=given.host,
            port=given.port,
            user=given.user,
            password=given.password,
            dbname=source.database,
            sslmode=given.sslmode or "prefer",
            connect_timeout=max(2, int(patience)),  # libpq takes 1 for 2
            application_name="cdc-platform",
            options=" ".join(f"-c {name}={int(1000 * seconds)}" for name, seconds in limits.items()),
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise _named(source, error) from error


def where(source: Source) -> str:
    """Source and server; never the connection string, which may hold a password."""
    return f"source {source.name}, database {source.database} at {address(source.engine, source.uri)}"


def rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """``query``: with ``%s`` for each value; none of a statement that gives no rows."""
    done = connection.execute(query.encode(), values)
    return done.fetchall() if done.description else []


def _named(source: Source, error: psycopg.Error) -> Terminal | Transient:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    at = where(source)
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
        return Transient(
            f"PostgreSQL did not do it in time: {said}",
            where=at,
            remedy="try again when the transactions that hold the table's locks have ended",
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return Terminal(
            f"PostgreSQL refuses: {said}", where=at, remedy="grant the user of the source what is missing"
        )
    for words, remedy in _KNOWN.items():
        if words in str(error):
            return Terminal(f"PostgreSQL refuses the connection: {said}", where=at, remedy=remedy)
    if isinstance(error, psycopg.OperationalError):
        return Transient(
            f"PostgreSQL does not answer: {said}",
            where=at,
            remedy="start it, or correct uri in the declaration of the source",
        )
    return Terminal(f"PostgreSQL refuses: {said}", where=at, remedy="correct what PostgreSQL names")


_KNOWN: Final = {
    "password authentication failed": "correct the user or its password in uri",
    "no password supplied": "give the user's password in uri",
    "no pg_hba.conf entry": "let this host in: a line for user and database in the server's pg_hba.conf",
    'database "': "correct `database` in the declaration of the source, or create that database",
    'role "': "correct the user in uri, or create that role",
    "server does not support SSL": "leave sslmode out of uri, or switch on ssl in the server",
    "certificate verify failed": "give the worker and this machine the certificate of the server's authority",
}
"""Words of the server while a connection is made, when libpq tells no code → what to do."""
