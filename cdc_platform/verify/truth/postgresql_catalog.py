"""What PostgreSQL's catalog says of a table, seen by a snapshot as all else is.

Invariant: two catalogs are equal only if rows read by the columns of one are what the other's table holds.
The files are part of it: a truncation or a rewrite is not for older snapshots, which then see an empty table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from cdc_platform.core.naming import TableId
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.truth.postgresql_types import PostgresType, is_sent, kind_of_type
from cdc_platform.verify.truth.sql import Column, Rows

_TABLE: Final = """
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
"""
_FILES: Final = """
    WITH RECURSIVE parts AS (
        SELECT %s::oid AS oid
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid
    )
    SELECT c.oid::bigint, c.relfilenode::bigint FROM parts JOIN pg_class c USING (oid) ORDER BY 1
"""
_COLUMNS: Final = """
    WITH RECURSIVE bases AS (
        SELECT a.attnum, t.oid AS type, t.typtype, t.typbasetype, a.atttypmod AS modifier
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.attnum, t.oid, t.typtype, t.typbasetype,
               CASE WHEN b.modifier < 0 THEN d.typtypmod ELSE b.modifier END
        FROM bases b JOIN pg_type d ON d.oid = b.type JOIN pg_type t ON t.oid = b.typbasetype
        WHERE b.typtype = 'd'
    )
    SELECT a.attnum::int, a.attname::text, a.attgenerated::text, a.atthasmissing, b.modifier::int,
           n.nspname::text, t.typname::text, t.typtype::text,
           m.nspname::text, i.typname::text, i.typtype::text
    FROM bases b
    JOIN pg_attribute a ON a.attrelid = %(table)s AND a.attnum = b.attnum
    JOIN pg_type t ON t.oid = b.type JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_type i ON i.oid = t.typelem AND t.typcategory = 'A' AND i.typarray = t.oid
    LEFT JOIN pg_namespace m ON m.oid = i.typnamespace
    WHERE b.typtype <> 'd' ORDER BY a.attnum
"""
_KEY: Final = """
    SELECT a.attname::text FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k(attnum, n)
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    WHERE x.indrelid = %s AND x.indisprimary AND k.n <= x.indnkeyatts ORDER BY k.n
"""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column. ``generated``: computed by the database, which its stream does not tell. ``filled``: added
    with a default that rows from before have without an event."""

    number: int
    name: str
    generated: bool
    filled: bool
    type: PostgresType


@dataclass(frozen=True, slots=True)
class Catalog:
    """``files``: oid and file of the table, and of each of its partitions. ``key``: the primary key."""

    files: tuple[tuple[int, int], ...]
    attributes: tuple[Attribute, ...]
    key: tuple[str, ...]

    def rows(self, key: Sequence[str]) -> Rows:
        columns = [
            Column(each.name, sql.Identifier(each.name).as_string(), kind_of_type(each.type))
            for each in self._streamed
        ]
        return Rows(columns, key)

    def shape(self, key: Sequence[str]) -> Shape:
        columns = {each.name: kind_of_type(each.type).text for each in self._streamed}
        return Shape(columns, bool(key), tuple(self._remarks()))

    @property
    def _streamed(self) -> list[Attribute]:
        return [each for each in self.attributes if not each.generated]

    def _remarks(self) -> list[str]:
        remarks = []
        if filled := [each.name for each in self._streamed if each.filled]:
            remarks.append(
                f"Rows from before {', '.join(filled)} was added have its default in the source without a "
                "change event, and null in the lake: an incremental snapshot of the table brings it."
            )
        if generated := [each.name for each in self.attributes if each.generated]:
            remarks.append(f"Not compared, as PostgreSQL's stream does not tell it: {', '.join(generated)}.")
        if unsent := [
            each.name for each in self._streamed if each.type.items and not is_sent(each.type.items)
        ]:
            remarks.append(f"Debezium does not send the values of arrays of such types: {', '.join(unsent)}.")
        return remarks


def read_catalog(connection: Connection[Any], table: TableId) -> Catalog | None:
    """None: there is no such table."""
    found = connection.execute(_TABLE, (table.schema, table.name)).fetchone()
    if found is None:
        return None
    (oid,) = found
    files = connection.execute(_FILES, (oid,)).fetchall()
    key = connection.execute(_KEY, (oid,)).fetchall()
    columns = connection.execute(_COLUMNS, {"table": oid}).fetchall()
    return Catalog(tuple(files), tuple(map(_attribute, columns)), tuple(name for (name,) in key))


def _attribute(row: tuple[Any, ...]) -> Attribute:
    number, name, generated, filled, modifier, schema, kind, form, *item = row
    items = None if item[1] is None else PostgresType(item[0], item[1], item[2], modifier)
    return Attribute(number, name, bool(generated), filled, PostgresType(schema, kind, form, modifier, items))
