"""Tables as they are found in a database, and what is wrong with them before any is captured.

Invariant: a table whose rows nothing identifies is captured only if its declaration says what that means.
Otherwise its current state would hold what no change can ever find again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId
from cdc_platform.core.source import MARKERS, SIGNALS, Source

_ONE_UNIT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Found:
    """``what``: table, or what else of that name there is. ``columns``: all of them, in order. ``key``: those
    of the primary key.
    """

    table: TableId
    what: str
    columns: Sequence[str]
    key: Sequence[str]


def wanted(source: Source, names: Iterable[str]) -> dict[str, TableId]:
    """Tables of the applications, by the names they are known by."""
    return {name: source.table(name) for name in names}


def own(source: Source) -> dict[str, TableId]:
    """The platform's own tables: MARKERS and SIGNALS."""
    return {name: source.table(name) for name in (MARKERS, SIGNALS)}


def require_tables(
    source: Source, tables: Mapping[str, TableId], found: Mapping[TableId, Found], where: str
) -> None:
    """Raise Terminal for what is not there, is no table, or has no key, naming all of one kind at once."""
    if missing := [str(table) for table in tables.values() if table not in found]:
        raise Terminal(
            f"there is no table {_listed(missing)} that this user could see",
            where=where,
            remedy="create it, let the user of the source SELECT from it, or take it out of `tables`; names "
            "are declared in their own case",
        )
    for table in tables.values():
        if (what := found[table].what) != "table":
            raise Terminal(
                f"{table} is a {what}; only changes of tables can be read",
                where=where,
                remedy="capture the tables it is made from",
            )
    for table in tables.values():
        _require_columns(found[table], where)
    _require_keys(source, {name: found[table] for name, table in tables.items()}, where)


def _require_columns(found: Found, where: str) -> None:
    """Columns keep apart what Avro's names do to them: Debezium's task fails with two of one name."""
    called: dict[str, str] = {}
    for column in found.columns:
        name = avro_name(column)
        if name in called:
            raise Terminal(
                f"columns {called[name]!r} and {column!r} of {found.table} would both be called {name}",
                where=where,
                remedy="rename one of the two",
            )
        called[name] = column


def avro_name(column: str) -> str:
    """What Debezium 3.4 calls a column: with ``_`` for each UTF-16 unit that is not of Avro's names."""
    name = re.sub(r"[^A-Za-z0-9_]", lambda found: "_" * (1 + (ord(found[0]) > _ONE_UNIT)), column)
    return f"_{name}" if name[:1].isdigit() else name


def _require_keys(source: Source, found: Mapping[str, Found], where: str) -> None:
    for name, columns in source.keys.items():
        if name in found and (unknown := [each for each in columns if each not in found[name].columns]):
            raise Terminal(
                f"the declared key of {name} has no such column: {_listed(unknown)}",
                where=where,
                remedy=f"declare columns of the table: {_listed(found[name].columns)}",
            )
    if keyless := [name for name, each in found.items() if not each.key and name not in source.keys]:
        first = keyless[0]
        raise Terminal(
            f"nothing identifies a row of {_listed(keyless)}: there is no primary key",
            where=where,
            remedy=f"declare what does, keys: {{{first}: [column, …]}}, or that nothing does, "
            f"keys: {{{first}: []}}: then the table has a changelog and no current state. A primary key is "
            f"better than both",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
