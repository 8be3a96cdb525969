"""Items and their movements in MariaDB, and people who buy, sell, count and relabel them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, cast

import pymysql

from cdc_platform.core.address import address
from cdc_platform.core.position import Engine
from cdc_platform.demo.trade import Pool
from cdc_platform.demo.transactions import (
    Batch,
    Change,
    Connection,
    Transactions,
    deletes,
    inserts,
    moves,
    updates,
)

DATABASE = "stock"
ITEMS = 0.3
"""Share of the rows to begin with."""

KINDS = ("food", "tools", "toys", "books")
TRAITS = ("fragile", "cold", "heavy")
REASONS = ("bought", "sold", "returned", "lost")

_ITEM = "insert into items values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_MOVEMENT = "insert into movements values (%s, %s, %s, %s, %s, %s, %s)"


def _quoted(texts: tuple[str, ...]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


@dataclass(slots=True)
class Stock:
    """The tables. ``rng``: the only source of chance, so that a seed gives the same rows."""

    rng: random.Random
    items: Pool[str] = field(default_factory=Pool)
    movements: Pool[int] = field(default_factory=Pool)
    made: int = 0
    moved: int = 0

    definitions: ClassVar[tuple[str, ...]] = (
        f"""create table items (
            sku varchar(20) primary key, title varchar(80) not null, kind enum({_quoted(KINDS)}) not null,
            traits set({_quoted(TRAITS)}) not null, price decimal(12, 4) not null, weight double,
            pieces int unsigned not null, barcode bigint unsigned not null, counted_at datetime(6),
            details json)""",
        f"""create table movements (
            id bigint unsigned primary key, sku varchar(20) not null, pieces mediumint not null,
            reason enum({_quoted(REASONS)}) not null, warehouse tinyint unsigned not null,
            moved_at timestamp(3) not null, note text, key (sku))""",
    )

    def initial(self, rows: int) -> Iterator[Batch]:
        items = [self._item() for _ in range(max(1, int(rows * ITEMS)))]
        for item in items:
            self.items.add(item[0])
        movements = [self._movement(self.items.any(self.rng)) for _ in range(rows - len(items))]
        for movement in movements:
            self.movements.add(movement[0])
        yield Batch(_ITEM, items)
        yield Batch(_MOVEMENT, movements)

    def change(self) -> Change:
        choice = self.rng.random()
        if choice < 0.1 or not (self.items and self.movements):
            return self._list()
        if choice < 0.55:
            return self._move()
        if choice < 0.7:
            return self._count()
        if choice < 0.75:
            return self._relabel()
        return self._forget() if choice < 0.95 else self._withdraw()

    def _list(self) -> Change:
        item = self._item()
        return Change((inserts(_ITEM, *item),), lambda: self.items.add(item[0]))

    def _move(self) -> Change:
        """A movement and the pieces that are left: a transaction over both tables."""
        movement = self._movement(self.items.any(self.rng))
        text = "update items set pieces = %s where sku = %s"
        return Change(
            (inserts(_MOVEMENT, *movement), updates(text, self._pieces(), movement[1])),
            lambda: self.movements.add(movement[0]),
        )

    def _count(self) -> Change:
        text = "update items set pieces = %s, price = %s, counted_at = %s where sku = %s"
        values = self._pieces(), self._price(), self._moment(), self.items.any(self.rng)
        return Change((updates(text, *values),), lambda: None)

    def _relabel(self) -> Change:
        """An item gets another primary key; its movements follow."""
        before, after = self.items.any(self.rng), self._sku()

        def committed() -> None:
            self.items.drop(before)
            self.items.add(after)

        movements = updates("update movements set sku = %s where sku = %s", after, before)
        return Change(
            (moves("update items set sku = %s where sku = %s", after, before), movements), committed
        )

    def _forget(self) -> Change:
        movement = self.movements.any(self.rng)
        text = "delete from movements where id = %s"
        return Change((deletes(text, movement),), lambda: self.movements.drop(movement))

    def _withdraw(self) -> Change:
        item = self.items.any(self.rng)
        return Change((deletes("delete from items where sku = %s", item),), lambda: self.items.drop(item))

    def _item(self) -> tuple[Any, ...]:
        return (
            self._sku(),
            f"{self.rng.choice(('Äpfel', 'Bücher', 'Łyżki', 'Zangen 🔧'))} {self.rng.randint(1, 999)}",
            self.rng.choice(KINDS),
            ",".join(self.rng.sample(TRAITS, self.rng.randint(0, 2))),
            self._price(),
            self.rng.choice((None, self.rng.uniform(0.01, 40))),
            self._pieces(),
            self.rng.getrandbits(64),
            self.rng.choice((None, self._moment())),
            json.dumps({"shelf": self.rng.randint(1, 90), "sizes": [1.5, None, "XL"]}),
        )

    def _movement(self, sku: str) -> tuple[Any, ...]:
        self.moved += 1
        return (
            self.moved,
            sku,
            self.rng.randint(-999, 999),
            self.rng.choice(REASONS),
            self.rng.randint(0, 255),
            self._moment(),
            self.rng.choice((None, "", "at the door", "für Zoë")),
        )

    def _sku(self) -> str:
        self.made += 1
        return f"SKU-{self.made:05}"

    def _price(self) -> Decimal:
        return Decimal(self.rng.randrange(10**8)).scaleb(-4)

    def _pieces(self) -> int:
        return self.rng.getrandbits(32)

    def _moment(self) -> datetime:
        return datetime(2026, 1, 1) + timedelta(milliseconds=self.rng.randrange(10**10))


@contextmanager
def open_stock(uri: str, seed: int) -> Iterator[Transactions]:
    """``uri``: of a server's database; another one beside it is made."""
    at = address(Engine.MARIADB, uri)
    opened = pymysql.connect(host=at.host, port=at.port, user=at.user, password=at.password)
    with closing(opened):
        with opened.cursor() as cursor:
            cursor.execute(f"create database {DATABASE}")
        opened.select_db(DATABASE)
        rng = random.Random(seed)
        yield Transactions(cast(Connection, opened), Stock(rng), rng)
