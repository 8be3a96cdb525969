"""What a MariaDB or MySQL database needs before it can be captured.

Invariant: the binlog holds whole rows with the names and types of their columns. With less, a change is
understood by the structure that its table has when it is read, or cannot be told from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import pymysql
from pymysql.constants import ER

from cdc_platform.connect.binlog import TITLES, Connection, opened, quoted, rows, where
from cdc_platform.connect.prepare.keyed import Found, own, require_tables, wanted
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId, at_edges
from cdc_platform.core.position import Engine
from cdc_platform.core.source import MARKERS, SIGNALS, Source

_OWN_COLUMNS: Final = {
    MARKERS: "id varchar(255) PRIMARY KEY, written timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
    SIGNALS: "id varchar(255) PRIMARY KEY, type varchar(64) NOT NULL, data text",
}

_BOTH: Final = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
}
_NEEDED: Final = {
    Engine.MARIADB: {**_BOTH, "gtid_strict_mode": "ON"},
    Engine.MYSQL: {
        **_BOTH,
        "gtid_mode": "ON",
        "enforce_gtid_consistency": "ON",
        "binlog_row_value_options": "",
    },
}
_AT_START: Final = ("log_bin", "gtid_mode")
"""What a running server does not take, or takes in several steps only."""

_PRIVILEGES: Final = {
    "RELOAD": ("RELOAD",),
    "REPLICATION SLAVE": ("REPLICATION SLAVE", "REPLICATION REPLICA"),
    "REPLICATION CLIENT": ("REPLICATION CLIENT", "BINLOG MONITOR"),
}
"""As it is granted → as servers call it."""

_FROM: Final = "FROM information_schema.{} WHERE TABLE_SCHEMA = %s AND BINARY TABLE_NAME = %s"

_REFUSED: Final = (ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR)


def prepare(source: Source, patience: float, names: Sequence[str]) -> None:
    with opened(source, patience) as connection:
        _require_server(source, connection)
        _require_names(source, connection)
        _require_settings(source, connection)
        _require_privileges(source, connection)
        _make_own(source, connection)
        tables = wanted(source, names)
        require_tables(source, tables, _find(connection, tables.values()), where(source))


def _require_server(source: Source, connection: Connection) -> None:
    [(version,)] = rows(connection, "SELECT version()")
    found = Engine.MARIADB if "mariadb" in version.lower() else Engine.MYSQL
    if found is not source.engine:
        raise Terminal(
            f"the server is {TITLES[found]} {version}, and the source is declared as {TITLES[source.engine]}",
            where=where(source),
            remedy=f"declare engine: {found}, with a uri that begins with {found}://",
        )


def _require_names(source: Source, connection: Connection) -> None:
    """The connector reads the structure of all tables of the database, captured or not."""
    named = rows(
        connection,
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s",
        source.database,
    )
    if quoted := [name for (name,) in named if at_edges(name)]:
        raise Terminal(
            f"a name in the database begins or ends with a quote, which Debezium cannot read: {quoted[0]}",
            where=where(source),
            remedy="rename that table or view, although it is not captured",
        )


def _require_settings(source: Source, connection: Connection) -> None:
    needed = _NEEDED[source.engine]
    names = ", ".join(f"'{name}'" for name in needed)
    found = dict(rows(connection, f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"))
    wrong = {name: value for name, value in needed.items() if found.get(name, value).upper() != value}
    if not wrong:
        return
    live = [
        f"SET GLOBAL {name} = {value or repr(value)};"
        for name, value in wrong.items()
        if name not in _AT_START
    ]
    lines = [f"{name} = {value}" if name != "log_bin" else name for name, value in wrong.items()]
    raise Terminal(
        f"the server's binlog does not hold what is needed: "
        f"{', '.join(f'{name} is {found.get(name)!r}' for name in wrong)}",
        where=where(source),
        remedy=f"write under [mysqld] of the server's configuration: {'; '.join(lines)}"
        + (", and restart it" if len(live) < len(wrong) else f", and run {' '.join(live)}")
        + ". Sessions that are open keep what they have",
    )


def _require_privileges(source: Source, connection: Connection) -> None:
    grants = [grant for (grant,) in rows(connection, "SHOW GRANTS")]
    on_all = [found[1] for grant in grants if (found := re.match(r"GRANT (.+) ON \*\.\* TO", grant))]
    held = {each.strip() for listed in on_all for each in listed.split(",")}
    if "ALL PRIVILEGES" in held:
        return
    if lacking := [name for name, called in _PRIVILEGES.items() if not held.intersection(called)]:
        raise Terminal(
            f"the user of the source may not {', '.join(lacking)}",
            where=where(source),
            remedy=f"run GRANT {', '.join(lacking)} ON *.* TO {_user(connection)};",
        )


def _make_own(source: Source, connection: Connection) -> None:
    """The tables of the platform, if they are not there; and that they can be written."""
    tables = own(source)
    found = _find(connection, tables.values())
    for name, table in tables.items():
        if table not in found:
            statement = f"CREATE TABLE IF NOT EXISTS {_full(table)} ({_OWN_COLUMNS[name]});"
            missing = f"the platform's own table {table} is missing"
            grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_full(table)} TO {_user(connection)};"
            _attempt(source, connection, statement, missing, f"{statement} {grant}")
        _require_writable(source, connection, table)


def _require_writable(source: Source, connection: Connection, table: TableId) -> None:
    """Proofs write their markers, repairs their signals: shown by statements that change nothing."""
    why = f"the user of the source may not write the platform's own table {table}"
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_full(table)} TO {_user(connection)};"
    columns = "id, type" if table.name == SIGNALS else "id"
    for statement in (
        f"INSERT INTO {_full(table)} ({columns}) SELECT {columns} FROM {_full(table)} WHERE false",
        f"UPDATE {_full(table)} SET id = id WHERE false",
        f"DELETE FROM {_full(table)} WHERE false",
    ):
        _attempt(source, connection, statement, why, grant)


def _attempt(source: Source, connection: Connection, statement: str, why: str, remedy: str) -> None:
    try:
        rows(connection, statement)
    except pymysql.MySQLError as error:
        if not error.args or error.args[0] not in _REFUSED:
            raise
        raise Terminal(
            f"{why}: {error.args[1]}", where=where(source), remedy=f"run as an administrator: {remedy}"
        ) from error


def _find(connection: Connection, tables: Iterable[TableId]) -> dict[TableId, Found]:
    """What there is of these names that the user may see."""
    found = {}
    for table in tables:
        names = (table.schema, table.name)
        for (kind,) in rows(connection, f"SELECT TABLE_TYPE {_FROM.format('TABLES')}", *names):
            what = "table" if kind in ("BASE TABLE", "SYSTEM VERSIONED") else kind.lower()
            columns = rows(
                connection,
                f"SELECT COLUMN_NAME {_FROM.format('COLUMNS')} ORDER BY ORDINAL_POSITION",
                *names,
            )
            key = rows(
                connection,
                f"SELECT COLUMN_NAME {_FROM.format('STATISTICS')} AND INDEX_NAME = 'PRIMARY'",
                *names,
            )
            found[table] = Found(table, what, [each for (each,) in columns], [each for (each,) in key])
    return found


def _user(connection: Connection) -> str:
    [(account,)] = rows(connection, "SELECT current_user()")
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"


def _full(table: TableId) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"
