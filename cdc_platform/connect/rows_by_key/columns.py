"""Keys of tables, read from their texts: a value a column, and the term that is true for that row alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source

Value = int | bool | str
Literal = Callable[[Value], str | None]
"""A value of a key as SQL has it; None if it cannot be expressed."""


@dataclass(frozen=True, slots=True)
class Column:
    """``quoted``: its name in SQL. ``type``: as the database calls it."""

    quoted: str
    type: str
    literal: Literal


def called(source: Source, name: str, found: Mapping[str, Column]) -> dict[str, Column]:
    """Columns by the names that the lake has for them."""
    renamed = source.renamed.get(name, {})
    return {renamed.get(column, column): each for column, each in found.items()}


def term(key: str, columns: Mapping[str, Column], where: str) -> str:
    """``("id" = '7' AND "line" = '2')``. Raises Terminal for what is no key of the table."""
    parts = [_equal(each, value, columns, key, where) for each, value in _parsed(key, where).items()]
    return f"({' AND '.join(parts)})"


def _parsed(key: str, where: str) -> dict[str, object]:
    try:
        found = orjson.loads(key)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found:
        raise Terminal(
            f"{key} is no key of this table: it is not a JSON object of the key's columns",
            where=where,
            remedy='give keys as the lake has them in _key: {"id":7}',
        )
    return found


def _equal(name: str, value: object, columns: Mapping[str, Column], key: str, where: str) -> str:
    column = columns.get(name)
    if column is None:
        raise Terminal(
            f"{key} is no key of this table: it has no column {name}",
            where=where,
            remedy=f"its columns are {', '.join(columns)}",
        )
    if value is None:
        return f"{column.quoted} IS NULL"
    literal = column.literal(value) if isinstance(value, int | str) else None
    if literal is None:
        raise Terminal(
            f"the key {key} cannot be given to the database: {name} is of type {column.type}",
            where=where,
            remedy="have the whole table read again: cdc connector snapshot SOURCE --table TABLE",
        )
    return f"{column.quoted} = {literal}"
