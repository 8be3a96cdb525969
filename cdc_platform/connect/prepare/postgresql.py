"""What a PostgreSQL database needs before it can be captured.

Invariants
- A table gets its replica identity before it is published: a published table without one refuses its
  applications' updates and deletes.
- The publication is there before the slot is made, and only grows: what was published once is never missing
  from the stream of a connector that goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import errors, sql

from cdc_platform.connect.postgresql import Connection, opened, rows, where
from cdc_platform.connect.prepare.keyed import Found, own, require_tables, wanted
from cdc_platform.connect.slots import require_streamed
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId
from cdc_platform.core.source import MARKERS, SIGNALS, Source

_KINDS: Final = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}

_OWN_COLUMNS: Final = {
    MARKERS: "id text PRIMARY KEY, written timestamptz NOT NULL DEFAULT now()",
    SIGNALS: "id text PRIMARY KEY, type text NOT NULL, data text",
}

_FIND: Final = """
SELECT n.nspname, c.relname, c.relkind, c.relpersistence,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a
             ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[])
             WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""

_IDENTITIES: Final = """
SELECT n.nspname, c.relname, c.relreplident, pg_has_role(c.relowner, 'USAGE'), root.nspname, root.relname
FROM (SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        AND c.relkind IN ('r', 'p')) root
CROSS JOIN LATERAL (SELECT root.oid AS relid UNION SELECT relid FROM pg_partition_tree(root.oid)) tree
JOIN pg_class c ON c.oid = tree.relid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2
"""


def prepare(source: Source, patience: float, names: Sequence[str]) -> None:
    with opened(source, patience) as connection:
        _require_logical(source, connection)
        _require_replication(source, connection)
        _require_slot(source, connection)
        _make_own(source, connection)
        tables = wanted(source, names)
        found = _find(connection, tables.values())
        require_tables(source, tables, found, where(source))
        _require_streamed_columns(source, found)
        _give_identities(source, connection, found)
        _publish(source, connection, [*tables.values(), *own(source).values()])


def _require_logical(source: Source, connection: Connection) -> None:
    [(level,)] = rows(connection, "SHOW wal_level")
    if level != "logical":
        raise Terminal(
            f"the server's wal_level is {level}: its log does not hold what changes a row",
            where=where(source),
            remedy="run ALTER SYSTEM SET wal_level = 'logical'; as a superuser and restart the server (a "
            "managed server has a parameter for it, as rds.logical_replication = 1)",
        )


def _require_replication(source: Source, connection: Connection) -> None:
    [(user, may)] = rows(
        connection,
        "SELECT current_user::text, rolreplication OR rolsuper OR EXISTS "
        "(SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'USAGE')) "
        "FROM pg_roles WHERE rolname = current_user",
    )
    if not may:
        raise Terminal(
            f"user {user} may not read the server's log",
            where=where(source),
            remedy=f"run ALTER ROLE {_name(user)} WITH REPLICATION; as a superuser (a managed server has a "
            f"role for it, as GRANT rds_replication TO {_name(user)};)",
        )


def _require_slot(source: Source, connection: Connection) -> None:
    """The connector's slot is usable, or there is room for it."""
    found = rows(
        connection,
        "SELECT plugin, database FROM pg_replication_slots WHERE slot_name = %s",
        source.slot,
    )
    if not found:
        return _require_room(source, connection)
    [(plugin, database)] = found
    if (plugin, database) != ("pgoutput", source.database):
        raise Terminal(
            f"the replication slot {source.slot} is another's: of plugin {plugin} in database {database}",
            where=where(source),
            remedy=f"drop it, SELECT pg_drop_replication_slot('{source.slot}'); or give the source another "
            f"name",
        )
    return require_streamed(source, connection)


def _require_streamed_columns(source: Source, found: Mapping[TableId, Found]) -> None:
    """Debezium 3.4 reads a name in the stream byte by byte, so that a column has one name in rows of the
    snapshot and another in changes."""
    for each in found.values():
        if strange := [column for column in each.columns if not column.isascii()]:
            raise Terminal(
                f"columns of {each.table} have other than ASCII characters in their names, which Debezium "
                f"reads wrongly from PostgreSQL's stream: {', '.join(strange)}",
                where=where(source),
                remedy="rename them",
            )


def _require_room(source: Source, connection: Connection) -> None:
    [(used, most)] = rows(
        connection,
        "SELECT count(*), current_setting('max_replication_slots')::int FROM pg_replication_slots",
    )
    if used >= most:
        raise Terminal(
            f"all {most} replication slots of the server are taken",
            where=where(source),
            remedy="drop one that nobody reads (SELECT slot_name FROM pg_replication_slots WHERE NOT active; "
            "SELECT pg_drop_replication_slot('…');), or run ALTER SYSTEM SET max_replication_slots = "
            f"{most + 10}; and restart the server",
        )


def _make_own(source: Source, connection: Connection) -> None:
    """The tables of the platform, if they are not there."""
    tables = own(source)
    found = _find(connection, tables.values())
    for name, table in tables.items():
        if table in found:
            continue
        statement = f"CREATE TABLE {_full(table)} ({_OWN_COLUMNS[name]});"
        try:
            connection.execute(statement.encode())
        except (errors.DuplicateTable, errors.UniqueViolation):
            continue  # somebody else is preparing it, too
        except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
            raise _told(source, f"the platform's own table {table} is missing", statement, error) from error
    for table in tables.values():
        _require_writable(source, connection, table)


def _require_writable(source: Source, connection: Connection, table: TableId) -> None:
    """Proofs write their markers, repairs their signals."""
    needed = ("SELECT", "INSERT", "UPDATE", "DELETE")
    [may] = rows(
        connection,
        f"SELECT current_user::text, {', '.join(f'has_table_privilege(%s, {each!r})' for each in needed)}",
        *[_full(table)] * len(needed),
    )
    if lacking := [each for each, has in zip(needed, may[1:], strict=True) if not has]:
        raise Terminal(
            f"user {may[0]} may not write the platform's own table {table}",
            where=where(source),
            remedy=f"run GRANT {', '.join(lacking)} ON {_full(table)} TO {_name(may[0])};",
        )


def _find(connection: Connection, tables: Iterable[TableId]) -> dict[TableId, Found]:
    """What there is of these names that can be read."""
    found = {}
    for schema, name, kind, persistence, readable, columns, key in _of(connection, _FIND, tables):
        what = "unlogged table" if persistence == "u" else _KINDS[kind]
        if readable:
            found[TableId(schema, name)] = Found(TableId(schema, name), what, columns, key)
    return found


def _give_identities(source: Source, connection: Connection, found: Mapping[TableId, Found]) -> None:
    """REPLICA IDENTITY FULL for every table and each of its partitions, if the source does not do without."""
    for schema, name, identity, owned, *root in _of(connection, _IDENTITIES, found):
        keyed = bool(found[TableId(*root)].key)
        keeps = source.capture.replica_identity == "keep" and (keyed or identity == "i")
        if identity == "f" or keeps:
            continue
        table = TableId(schema, name)
        statement = f"ALTER TABLE {_full(table)} REPLICA IDENTITY FULL;"
        why = f"changes of {table} do not carry the whole row before them"
        if not owned or source.capture.replica_identity == "keep":
            raise _told(source, why, statement, beside=_WITHOUT if keyed else "")
        connection.execute(statement.encode())


def _publish(source: Source, connection: Connection, tables: Sequence[TableId]) -> None:
    """The publication has these tables, and all kinds of changes, partitions by their root."""
    found = rows(
        connection,
        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM pg_publication "
        "WHERE pubname = %s",
        source.slot,
    )
    if not found:
        listed, how = ", ".join(map(_full, tables)), "WITH (publish_via_partition_root = true)"
        _change(source, connection, f"CREATE PUBLICATION {_name(source.slot)} FOR TABLE {listed} {how};")
        return
    if found != [(True, True)]:
        _change(
            source,
            connection,
            f"ALTER PUBLICATION {_name(source.slot)} SET (publish = 'insert, update, delete, truncate', "
            f"publish_via_partition_root = true);",
        )
    published = {
        TableId(*each)
        for each in rows(
            connection,
            "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s",
            source.slot,
        )
    }
    if missing := [table for table in tables if table not in published]:
        listed = ", ".join(map(_full, missing))
        _change(source, connection, f"ALTER PUBLICATION {_name(source.slot)} ADD TABLE {listed};")


def _change(source: Source, connection: Connection, statement: str) -> None:
    try:
        connection.execute(statement.encode())
    except errors.DuplicateObject:
        pass  # somebody else is preparing it, too
    except errors.InsufficientPrivilege as error:
        why = f"the publication {source.slot} lacks tables of the source"
        raise _told(source, why, statement, error) from error


def _told(
    source: Source, what: str, statement: str, error: Exception | None = None, beside: str = ""
) -> Terminal:
    said = f", and its user may not change that: {str(error).splitlines()[0]}" if error else ""
    return Terminal(
        f"{what}{said}", where=where(source), remedy=f"run as its owner or a superuser: {statement}{beside}"
    )


_WITHOUT: Final = (
    " Or declare capture: {replica_identity: keep}, which costs this: a large value that an update leaves "
    "alone is not in its event, and the changelog has no row before a change"
)


def _of(connection: Connection, query: str, tables: Iterable[TableId]) -> list[tuple[Any, ...]]:
    named = list(tables)
    return rows(connection, query, [each.schema for each in named], [each.name for each in named])


def _name(name: str) -> str:
    return sql.Identifier(name).as_string()


def _full(table: TableId) -> str:
    return sql.Identifier(table.schema, table.name).as_string()
