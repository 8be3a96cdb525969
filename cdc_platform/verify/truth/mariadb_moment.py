"""How a consistent snapshot is opened in MariaDB and in MySQL, and at which position it stands.

MariaDB tells the place in the binlog that belongs to a session's snapshot. MySQL does not: there the executed
GTIDs are read before and after, and the snapshot is opened again until they are the same. A transaction adds
its GTID just after its rows can be seen, so a snapshot that was opened in between would show a row too much;
it is the next proof's to pass then. Not run against a MySQL server: there was none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pymysql.connections import Connection as _Connection
from pymysql.cursors import Cursor

from cdc_platform.core.position import Engine
from cdc_platform.verify.position import GtidPosition, GtidSet, SourcePosition
from cdc_platform.verify.verdict import Cause, Unprovable

Connection: TypeAlias = "_Connection[Cursor]"
Open = Callable[[Connection], SourcePosition]

TRIES: Final = 50
PAUSE: Final = 0.02
"""Seconds between two tries."""

_OPEN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_CLOCK: Final = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000 AS SIGNED)"


def opener(engine: Engine) -> Open:
    return _mysql if engine is Engine.MYSQL else _mariadb


def rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """``query``: with ``%s`` for each value. Numbers come as texts."""
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def _mariadb(connection: Connection) -> GtidPosition:
    _run(connection, _OPEN)
    told = {name.lower(): value for name, value in rows(connection, "SHOW STATUS LIKE 'binlog_snapshot_%'")}
    file, pos = told.get("binlog_snapshot_file", ""), int(told.get("binlog_snapshot_position") or 0)
    if not file:
        raise Unprovable(
            Cause.SOURCE_UNREACHABLE,
            "MariaDB tells no position: its binlog is off",
            remedy="start it with log_bin and binlog_format=ROW, as the connector needs it",
        )
    [(gtids,)] = rows(connection, "SELECT BINLOG_GTID_POS(%s, %s)", file, pos)
    [(at_ms,)] = rows(connection, _CLOCK)
    return GtidPosition.parsed(gtids or "", file, pos, int(at_ms))


def _mysql(connection: Connection) -> GtidSet:
    for _ in range(TRIES):
        before = _executed(connection)
        _run(connection, _OPEN)
        file, pos, gtids = _executed(connection)
        if before[2] == gtids:
            [(at_ms,)] = rows(connection, _CLOCK)
            return GtidSet.parsed(gtids, file, pos, int(at_ms))
        connection.rollback()
        time.sleep(PAUSE)
    raise Unprovable(
        Cause.SOURCE_UNREACHABLE,
        f"MySQL was written to in each of {TRIES} moments in which a snapshot was opened",
        remedy="prove again when less is written",
    )


def _executed(connection: Connection) -> tuple[str, int, str]:
    """The binlog's file and place, and the executed GTIDs."""
    [(version,)] = rows(connection, "SELECT VERSION()")
    renamed = tuple(int(part) for part in str(version).split(".")[:2]) >= (8, 4)
    found = rows(connection, "SHOW BINARY LOG STATUS" if renamed else "SHOW MASTER STATUS")
    if not found or not found[0][4]:
        raise Unprovable(
            Cause.SOURCE_UNREACHABLE,
            "MySQL tells no executed GTIDs",
            remedy="start it with gtid_mode=ON, enforce_gtid_consistency=ON and its binlog",
        )
    file, pos, _, _, gtids = found[0][:5]
    return str(file), int(pos), "".join(str(gtids).split())


def _run(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
