"""The condition that takes exactly the rows with given keys, as the connector gives it to its database.

Invariant: a key becomes the very value that it is the text of, or nothing at all. A literal that meant
another value would have other rows read again, and those that were asked for would be taken for gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from cdc_platform.connect.rows_by_key import binlog, documents, postgresql
from cdc_platform.core.errors import Terminal
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

MOST_KEYS: Final = 500
MOST_BYTES: Final = 16_000
"""Of one condition, as UTF-8: the connector keeps it in the position that goes with every record, and a text
column of MariaDB takes 64 KB."""


def whole(source: Source, name: str) -> list[str]:
    """Conditions that take all rows of a table together, an empty one for all of them at once.

    Raises Terminal for a collection with documents that the connector cannot read again.
    """
    if source.engine is not Engine.MONGODB:
        return [""]
    return documents.families(source, name, f"collection {name} of source {source.name}")


def conditions(source: Source, name: str, keys: Sequence[str]) -> list[str]:
    """One condition for each signal; none without keys. ``keys``: as the lake has them in ``_key``.

    Asks the database for the types of the key's columns. Raises Terminal for a key that cannot be expressed,
    Transient if the database does not answer.
    """
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        return []
    where = f"table {name} of source {source.name}"
    match source.engine:
        case Engine.MONGODB:
            alike = documents.terms(wanted, where)
            return [documents.condition(some) for each in alike for some in _bounded(each, where)]
        case Engine.POSTGRESQL:
            terms = postgresql.terms(source, name, wanted, where)
        case Engine.MARIADB | Engine.MYSQL:
            terms = binlog.terms(source, name, wanted, where)
        case _:
            assert_never(source.engine)
    return [" OR ".join(some) for some in _bounded(terms, where)]


def _bounded(terms: Iterable[str], where: str) -> list[list[str]]:
    found: list[list[str]] = []
    size = 0
    for term in terms:
        more = len(term.encode()) + len(" OR ")
        if more > MOST_BYTES:
            raise Terminal(
                f"a key takes {more:,} bytes, more than the {MOST_BYTES:,} that a signal may have",
                where=where,
                remedy="have the whole table read again: cdc connector snapshot SOURCE --table TABLE",
            )
        if not found or len(found[-1]) == MOST_KEYS or size + more > MOST_BYTES:
            found.append([])
            size = 0
        found[-1].append(term)
        size += more
    return found
