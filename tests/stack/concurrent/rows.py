"""PostgreSQL's and MariaDB's writers: transactions with savepoints, some of them large or long, some rolled
back; rows whose key changes, that are deleted and come back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from cdc_platform.core.position import Engine
from tests.stack.concurrent.writers import Hand, chosen
from tests.stack.databases import Database, Session

KEYS = 200
"""Of each writer; large transactions have a region of their own."""

COLUMNS = """
    region varchar(20), id int, n bigint, price decimal(10,2), status varchar(20), at timestamp(6) NULL,
    note text, PRIMARY KEY (region, id)"""


@dataclass(frozen=True, slots=True)
class RowScribe:
    db: Database
    table: str

    def create(self) -> None:
        self.db.run(f"CREATE TABLE {self.table} ({COLUMNS})")
        if self.db.engine is Engine.POSTGRESQL:
            self.db.run(f"ALTER TABLE {self.table} REPLICA IDENTITY FULL")

    @contextmanager
    def hand(self, number: int, numbers: Iterator[int], stop: Event) -> Iterator[Hand]:
        with self.db.session() as session:
            yield RowHand(session, self.table, number, numbers, stop)

    def standing(self) -> Mapping[tuple[object, ...], int]:
        with self.db.session() as session:
            found = session.run(f"SELECT region, id, n FROM {self.table}")
        return {(region, key): n for region, key, n in found}

    def owner(self, key: Mapping[str, object]) -> int:
        return int(str(key["region"])[1:])


@dataclass(frozen=True, slots=True)
class RowHand:
    session: Session
    table: str
    number: int
    numbers: Iterator[int]
    stop: Event

    def write(self, chance: random.Random) -> str:
        self.session.run("BEGIN")
        ways = {self._few: 54, self._savepoint: 22, self._again: 23, self._large: 1}
        became = chosen(chance, ways)
        if chance.random() < 0.1:
            self.stop.wait(chance.uniform(0, 0.3))  # a position may fall into it
        back = chance.random() < 0.2
        self.session.run("ROLLBACK" if back else "COMMIT")
        return f"{became}, rolled back" if back else became

    def _few(self, chance: random.Random) -> str:
        for _ in range(chance.randint(1, 4)):
            self._change(chance)
        return "few"

    def _savepoint(self, chance: random.Random) -> str:
        """What came after it is undone more often than not; what came before it stays."""
        self._change(chance)
        self.session.run("SAVEPOINT here")
        self._few(chance)
        undo = chance.random() < 0.6
        self.session.run(f"{'ROLLBACK TO' if undo else 'RELEASE'} SAVEPOINT here")
        self._change(chance)
        return "savepoint, undone" if undo else "savepoint"

    def _again(self, chance: random.Random) -> str:
        """Deleted, there again, and sometimes deleted once more."""
        key = chance.randrange(KEYS)
        self._put(chance, key)
        if chance.random() < 0.3:
            self._delete(key)
        return "deleted and inserted again"

    def _large(self, chance: random.Random) -> str:
        """A thousand rows at once: all new, all changed, or all gone."""
        region = f"b{self.number}"
        if chance.random() < 0.3:
            self.session.run(
                f"UPDATE {self.table} SET n = n + {next(self.numbers)} WHERE region = '{region}'"
            )
            return "large transaction"
        self.session.run(f"DELETE FROM {self.table} WHERE region = '{region}'")
        if chance.random() < 0.8:
            keys = range(chance.randint(300, 1_000))
            self._insert([self._row(chance, region, key) for key in keys])
        return "large transaction"

    def _change(self, chance: random.Random) -> None:
        key = chance.randrange(KEYS)
        match chance.randrange(6):
            case 0:
                self._delete(key)
            case 1:
                moved = f"SET id = id + {KEYS * chance.randint(1, 10**6)}, n = {next(self.numbers)}"
                self.session.run(f"UPDATE {self.table} {moved} WHERE {self._is(key)}")
            case 2 | 3:
                price = chance.randrange(10_000) / 100
                changed = f"SET price = {price}, note = NULL, n = {next(self.numbers)}"
                self.session.run(f"UPDATE {self.table} {changed} WHERE {self._is(key)}")
            case _:
                self._put(chance, key)

    def _put(self, chance: random.Random, key: int) -> None:
        self._delete(key)
        self._insert([self._row(chance, f"r{self.number}", key)])

    def _insert(self, rows: list[str]) -> None:
        names = "region, id, n, price, status, at, note"
        self.session.run(f"INSERT INTO {self.table} ({names}) VALUES {', '.join(rows)}")

    def _delete(self, key: int) -> None:
        self.session.run(f"DELETE FROM {self.table} WHERE {self._is(key)}")

    def _row(self, chance: random.Random, region: str, key: int) -> str:
        status = chance.choice(["'open'", "'ß😀'", "''", "NULL"])
        return (
            f"('{region}', {key}, {next(self.numbers)}, {chance.randrange(10_000) / 100}, {status}, "
            f"CURRENT_TIMESTAMP(6), 'written by {self.number}, {chance.randrange(10**6)}')"
        )

    def _is(self, key: int) -> str:
        return f"region = 'r{self.number}' AND id = {key}"
