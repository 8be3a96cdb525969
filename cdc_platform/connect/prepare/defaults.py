"""Nullable columns with a default, which Apicurio's Avro converter makes wrong.

Kafka Connect gives a field's default for a null, unless a converter is told not to. JsonConverter can be told
so, and Confluent's AvroConverter; Apicurio's (2.6) cannot: a NULL that an application has written arrives as
the default, without a word.

Invariant: where that would be so, nothing is captured.
"""

from __future__ import annotations

from typing import Final

from cdc_platform.connect import binlog, postgresql
from cdc_platform.connect.config import Services
from cdc_platform.core.capture import Wire
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

_CONSTANT: Final = """
SELECT table_schema, table_name, column_name FROM information_schema.columns
WHERE is_nullable = 'YES' AND column_default IS NOT NULL AND column_default NOT LIKE 'NULL%%'
  AND column_default NOT LIKE '%%(%%' AND table_schema = %s AND table_name = %s
ORDER BY ordinal_position
"""
"""What an expression gives, as now(), is not in an event's schema."""


def require_nulls_kept(source: Source, services: Services) -> None:
    """Raises Terminal naming the columns whose NULLs would arrive as their defaults."""
    if source.written_as is not Wire.AVRO or services.avro_converter != "apicurio":
        return
    tables = [source.table(name) for name in source.collections]
    found = _postgresql(source, tables) if source.engine is Engine.POSTGRESQL else _binlog(source, tables)
    if found:
        raise Terminal(
            f"a NULL in {', '.join(found)} would arrive as the column's default: Apicurio's Avro converter "
            f"cannot tell the two apart",
            where=f"source {source.name}",
            remedy="declare wire: json_with_schema; or give the worker Confluent's converter "
            "(CDC_CONNECT_AVRO_CONVERTER=confluent); or make the columns NOT NULL, or drop their defaults",
        )


def _postgresql(source: Source, tables: list[TableId]) -> list[str]:
    with postgresql.opened(source) as connection:
        rows = [
            row for each in tables for row in postgresql.rows(connection, _CONSTANT, each.schema, each.name)
        ]
    return [".".join(row) for row in rows]


def _binlog(source: Source, tables: list[TableId]) -> list[str]:
    with binlog.opened(source) as connection:
        rows = [row for each in tables for row in binlog.rows(connection, _CONSTANT, each.schema, each.name)]
    return [".".join(row) for row in rows]
