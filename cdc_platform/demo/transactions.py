"""People who change the tables of an SQL database, in transactions over several tables, some rolled back.

Invariant: what the writers believe to be in the tables changes with the commit, never before: a transaction
that is rolled back leaves no trace, neither there nor in the lake.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any, ClassVar, Protocol

from cdc_platform.demo.trade import DELETED, INSERTED, UPDATED, keep_pace

TICK = 0.05
"""Seconds between two transactions."""

ROLLED_BACK = 0.1
"""Share of the transactions that end so."""


class Cursor(Protocol):
    """As PEP 249 has it."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, statement: str, values: Sequence[Any]) -> Any: ...

    def executemany(self, statement: str, values: Sequence[Sequence[Any]]) -> Any: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """As PEP 249 has it, in its usual mode: statements belong to a transaction until it is ended."""

    def cursor(self) -> Cursor: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """``becomes``: what each of its rows is in the changelog."""

    text: str
    values: tuple[Any, ...]
    becomes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table, to begin with."""

    statement: str
    values: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody does at once. ``committed``: called when it has happened."""

    statements: tuple[Statement, ...]
    committed: Callable[[], None]


class Tables(Protocol):
    """The tables of one database, and what happens to them."""

    definitions: ClassVar[tuple[str, ...]]

    def initial(self, rows: int) -> Iterator[Batch]:
        """About that many rows."""
        ...

    def change(self) -> Change: ...


@dataclass(frozen=True, slots=True)
class Transactions:
    """A ``Trade`` over tables. ``rng``: decides which transactions are rolled back."""

    connection: Connection
    tables: Tables
    rng: random.Random

    def load(self, rows: int, progress: Callable[[int], None]) -> None:
        with closing(self.connection.cursor()) as cursor:
            for definition in self.tables.definitions:
                cursor.execute(definition, ())
            for batch in self.tables.initial(rows):
                cursor.executemany(batch.statement, batch.values)
                self.connection.commit()
                progress(len(batch.values))

    def change(self, rate: int, seconds: float, stop: Event, done: Counter[str]) -> None:
        keep_pace(rate, seconds, stop, done, TICK, lambda due: self._transact(due, done))

    def _transact(self, due: int, done: Counter[str]) -> None:
        made, changes = Counter[str](), list[Change]()
        with closing(self.connection.cursor()) as cursor:
            while made.total() < due:
                changes.append(change := self.tables.change())
                for statement in change.statements:
                    cursor.execute(statement.text, statement.values)
                    made.update(dict.fromkeys(statement.becomes, cursor.rowcount))
        if self.rng.random() < ROLLED_BACK:
            self.connection.rollback()
            return
        self.connection.commit()
        for change in changes:
            change.committed()
        done.update(made)


def inserts(text: str, *values: Any) -> Statement:
    return Statement(text, values, (INSERTED,))


def updates(text: str, *values: Any) -> Statement:
    return Statement(text, values, (UPDATED,))


def deletes(text: str, *values: Any) -> Statement:
    return Statement(text, values, (DELETED,))


def moves(text: str, *values: Any) -> Statement:
    """An update of a primary key."""
    return Statement(text, values, (DELETED, INSERTED))
