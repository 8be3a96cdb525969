"""What the connectors of PostgreSQL, MariaDB and MySQL have in common.

Invariants
- A table is included by its exact name, or by a glob that the declaration has: names are written so that
  neither Debezium's lists nor Java's regular expressions take any character of them for their own.
- Values keep their precision: numbers, times and intervals come as what they are, never rounded to fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cdc_platform.core.address import Address, address
from cdc_platform.core.naming import TableId, split
from cdc_platform.core.pattern import expression
from cdc_platform.core.position import Engine
from cdc_platform.core.source import SIGNALS, Source

_DECIMALS: Final = {
    # As bytes, NaN and infinity would be null without a word, and so would a TOASTed value left alone.
    Engine.POSTGRESQL: "string",
    Engine.MARIADB: "precise",
    Engine.MYSQL: "precise",
}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]")
_ASCII: Final = 0x80


def settings(source: Source) -> dict[str, str]:
    given = reached(source)
    return {
        "database.hostname": given.host,
        "database.port": str(given.port),
        "database.user": given.user,
        "database.password": given.password,
        "table.include.list": ",".join(_included(source)),
        **_keys(source),
        "signal.data.collection": str(source.table(SIGNALS)),
        "signal.enabled.channels": "source",
        "snapshot.mode": "initial",
        "snapshot.fetch.size": str(source.capture.snapshot_fetch_size),
        "snapshot.max.threads": str(source.capture.snapshot_threads or 1),
        "decimal.handling.mode": _DECIMALS[source.engine],
        "binary.handling.mode": "bytes",
        "time.precision.mode": "microseconds",
        "column.propagate.source.type": ".*",
        # Avro's names, whatever the wire format: a column is called the same in all of them
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
    }


def reached(source: Source) -> Address:
    return address(source.engine, source.uri)


def literal(name: str) -> str:
    """A regular expression for this very name, without a character that Debezium's lists are made with."""
    return "".join(
        each if _PLAIN.fullmatch(each) or ord(each) >= _ASCII else rf"\x{ord(each):02x}" for each in name
    )


def exactly(table: TableId) -> str:
    """A regular expression for this very table, for a flag of its own to switch on case."""
    return rf"{literal(table.schema)}\.{literal(table.name)}"


def newly_included(source: Source, before: Mapping[str, str]) -> list[str]:
    """Tables that a connector with the settings ``before`` did not read."""
    patterns = before.get("table.include.list", "").split(",")
    return [
        name
        for name in source.collections
        if not any(re.fullmatch(each, str(source.table(name)), re.IGNORECASE) for each in patterns)
    ]


def _included(source: Source) -> list[str]:
    """Names and globs. A name that a glob takes is left out: finding one leaves the connector as it is."""
    named = [source.table(name) for name in source.captured if not source.takes(name)]
    return [
        *(f"(?-i:{exactly(table)})" for table in named),
        *(f"(?-i:{_any_of(source, glob)})" for glob in source.globs),
    ]


def _any_of(source: Source, glob: str) -> str:
    if source.engine is Engine.POSTGRESQL:
        return expression(str(split(glob, source.engine, source.database)))
    return rf"{literal(source.database)}\.{expression(glob)}"


def _keys(source: Source) -> dict[str, str]:
    """Keys that are declared. Colons separate here, so that case is switched on by a flag without one."""
    declared = [
        f"(?-i){exactly(source.table(name))}:{','.join(map(literal, columns))}"
        for name, columns in source.keys.items()
        if columns
    ]
    return {"message.key.columns": ";".join(declared)} if declared else {}
