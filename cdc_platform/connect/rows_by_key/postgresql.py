"""Rows of a table of PostgreSQL. A literal in quotes takes the type of the column it is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from psycopg import sql

from cdc_platform.connect import postgresql
from cdc_platform.connect.rows_by_key.columns import Column, Value, called, term
from cdc_platform.core.source import Source

_COLUMNS: Final = """
    WITH RECURSIVE bases AS (
        SELECT a.attname::text AS name, t.typname::text AS type, t.typtype::text AS form,
               t.typbasetype AS base
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.name, t.typname::text, t.typtype::text, t.typbasetype
        FROM bases b JOIN pg_type t ON t.oid = b.base WHERE b.form = 'd'
    )
    SELECT name, type, form FROM bases WHERE form <> 'd'
"""
_ENUM: Final = "e"
_PLAIN: Final = frozenset(
    {"int2", "int4", "int8", "oid", "bool", "float4", "float8", "numeric", "text", "varchar", "bpchar"}
    | {"char", "name", "citext", "ltree", "uuid", "jsonb", "inet", "cidr", "macaddr", "macaddr8"}
)
"""Their texts in the lake are what PostgreSQL reads. Without times and bits: Debezium 3.4 begins to read a
table by such a key, and cannot go on."""
_DAY: Final = re.compile(r"\+?(\d{4,}-.*|-?infinity)")


def terms(source: Source, name: str, keys: Sequence[str], where: str) -> list[str]:
    table = source.table(name)
    with postgresql.opened(source) as connection:
        found = postgresql.rows(connection, _COLUMNS, table.schema, table.name)
    columns = {
        column: Column(sql.Identifier(column).as_string(), kind, partial(literal, kind, form))
        for column, kind, form in found
    }
    named = called(source, name, columns)
    return [term(key, named, where) for key in keys]


def literal(kind: str, form: str, value: Value) -> str | None:
    text = _text(kind, form, value)
    return None if text is None else sql.Literal(text).as_string().strip()


def _text(kind: str, form: str, value: Value) -> str | None:
    """As PostgreSQL reads it, whatever the session's settings."""
    if form == _ENUM or kind in _PLAIN:
        return str(value).lower() if isinstance(value, bool) else str(value)
    match kind:
        case "date" | "timestamp" | "timestamptz":
            # a year before the first has another form there
            found = _DAY.fullmatch(str(value))
            return found[1] if found else None
        case "bytea":
            return f"\\x{value}"
    return None
