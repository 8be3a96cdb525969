"""What the demo's people do to a database, and what they say that they did."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from threading import Event

import pytest

from cdc_platform.demo.billing import Billing
from cdc_platform.demo.stock import Stock
from cdc_platform.demo.trade import Pool
from cdc_platform.demo.transactions import (
    Batch,
    Change,
    Tables,
    Transactions,
    deletes,
    inserts,
    moves,
    updates,
)


class Always(random.Random):
    """Every chance is the same."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


class Notes:
    """Two tables; each change puts a row into one and moves, updates and deletes in the other."""

    definitions = (
        "create table notes (id integer primary key)",
        "create table marks (id integer primary key)",
    )

    def __init__(self) -> None:
        self.written = 100
        self.committed = 0

    def initial(self, rows: int) -> Iterator[Batch]:
        yield Batch("insert into marks values (?)", [(n,) for n in range(rows)])

    def change(self) -> Change:
        self.written += 1
        return Change(
            (
                inserts("insert into notes values (?)", self.written),
                moves("update marks set id = ? where id = 0", self.written),
                updates("update marks set id = id where id = 1"),
                deletes("delete from marks where id = 99"),
            ),
            self._commit,
        )

    def _commit(self) -> None:
        self.committed += 1


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as opened:
        yield opened


def rows(connection: sqlite3.Connection, table: str) -> int:
    [[count]] = connection.execute(f"select count(*) from {table}").fetchall()
    return int(count)


def changed(connection: sqlite3.Connection, chance: float) -> tuple[Notes, Counter[str]]:
    """Some transactions; each ends as the chance says."""
    tables, done = Notes(), Counter[str]()
    trade = Transactions(connection, tables, Always(chance))
    loaded = list[int]()
    trade.load(3, loaded.append)
    assert loaded == [3]
    trade.change(100, 0.3, Event(), done)
    return tables, done


def test_what_was_committed_is_counted_as_the_changelog_will_hold_it(connection: sqlite3.Connection) -> None:
    tables, done = changed(connection, chance=0.9)
    assert tables.committed == rows(connection, "notes") > 0
    assert done["inserted"] == rows(connection, "notes") + 1, "a key that changes is an insertion, too"
    assert done["deleted"] == 1
    assert done["updated"] == tables.committed
    assert done.total() == done["inserted"] + done["updated"] + done["deleted"]


def test_what_was_rolled_back_is_nowhere(connection: sqlite3.Connection) -> None:
    tables, done = changed(connection, chance=0.0)
    assert tables.written > 100
    assert tables.committed == 0
    assert not done.total()
    assert rows(connection, "notes") == 0


@pytest.mark.parametrize("tables", [Billing(random.Random(1)), Stock(random.Random(1))])
def test_a_firm_begins_with_as_many_rows_as_are_wanted_and_changes_for_ever(tables: Tables) -> None:
    assert sum(len(batch.values) for batch in tables.initial(200)) == 200
    for _ in range(2_000):
        change = tables.change()
        assert change.statements
        change.committed()


def test_the_same_seed_gives_the_same_rows_and_changes() -> None:
    for kind in (Billing, Stock):
        first, second = (kind(random.Random(7)) for _ in range(2))
        assert list(first.initial(50)) == list(second.initial(50))
        for _ in range(100):
            one, other = first.change(), second.change()
            assert one.statements == other.statements
            one.committed()
            other.committed()


def test_a_pool_knows_its_rows_after_any_of_them_has_gone() -> None:
    pool, rng, expected = Pool[int](), random.Random(3), set[int]()
    for _ in range(2_000):
        row = rng.randrange(20)
        if rng.random() < 0.5:
            pool.add(row)
            expected.add(row)
        else:
            pool.drop(row)
            expected.discard(row)
        assert len(pool) == len(expected)
        assert not pool or pool.any(rng) in expected
