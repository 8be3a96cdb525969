"""Rows of a table of MariaDB or MySQL. Texts are given as bytes: no setting reads them otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from cdc_platform.connect import binlog
from cdc_platform.connect.rows_by_key.columns import Column, Value, called, term
from cdc_platform.core.source import Source

_COLUMNS: Final = """
    SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s
"""
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year", "decimal"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
_NAMED: Final = frozenset({"uuid", "inet4", "inet6"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_REAL: Final = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
_TIME: Final = re.compile(r"-?\d{2,3}:\d\d:\d\d(\.\d{1,6})?")
_WORD: Final = re.compile(r"[0-9A-Fa-f:.-]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def terms(source: Source, name: str, keys: Sequence[str], where: str) -> list[str]:
    table = source.table(name)
    with binlog.opened(source) as connection:
        found = binlog.rows(connection, _COLUMNS, table.schema, table.name)
    columns = {column: Column(binlog.quoted(column), kind, partial(literal, kind)) for column, kind in found}
    named = called(source, name, columns)
    return [term(key, named, where) for key in keys]


def literal(kind: str, value: Value) -> str | None:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    match kind:
        case _ if kind in _INTEGERS:
            return _if(_NUMBER, text, text)
        case "double":
            # without an exponent it would be a decimal, which is compared otherwise
            return _if(_REAL, text, text if "e" in text else f"{text}e0")
        case _ if kind in _TEXTS:
            return f"_utf8mb4 X'{text.encode().hex()}'"
        case _ if kind in _NAMED:
            return _if(_WORD, text, f"'{text}'")
        case _ if kind in _BYTES:
            return f"X'{bytes.fromhex(text).hex()}'"
        case "bit":
            number = value if isinstance(value, bool) else int.from_bytes(bytes.fromhex(text), "little")
            return str(int(number))
        case "date":
            return _if(_DAY, text, f"DATE '{text}'")
        case "datetime":
            return _if(_MOMENT, text, f"TIMESTAMP '{text.replace('T', ' ')}'")
        case "timestamp":
            return _since_1970(text) if _MOMENT.fullmatch(text.removesuffix("Z")) else None
        case "time":
            return _if(_TIME, text, f"TIME '{text}'")
    return None


def _if(form: re.Pattern[str], text: str, literal: str) -> str | None:
    return literal if form.fullmatch(text) else None


def _since_1970(text: str) -> str:
    """The same moment in whatever time zone the session of the connector is."""
    micros = (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    return f"FROM_UNIXTIME({micros // 10**6}.{micros % 10**6:06})"
