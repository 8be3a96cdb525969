"""A small shop in MongoDB: customers, products, orders, and people who keep changing them."""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from bson import Decimal128, ObjectId
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne
from pymongo.database import Database

from cdc_platform.demo.trade import DELETED, INSERTED, UPDATED, keep_pace

Document = dict[str, Any]
Write = InsertOne[Document] | UpdateOne | DeleteOne

DATABASE = "shop"
CITIES = ("Aarhus", "Bergen", "Chur", "Düsseldorf", "Évora", "Ferrara", "Göteborg", "Łódź")
SHARES = {"orders": 0.6, "customers": 0.3, "products": 0.1}
"""How documents and changes spread over the collections."""

TICK = 0.02
"""Seconds between two bulk writes."""


@dataclass(slots=True)
class Shop:
    """A ``Trade``. ``rng``: the only source of chance, so that a seed gives the same documents."""

    database: Database[Document]
    rng: random.Random
    ids: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SHARES})
    made: Counter[str] = field(default_factory=Counter)

    def load(self, documents: int, progress: Callable[[int], None]) -> None:
        for name, share in SHARES.items():
            left = int(documents * share)
            while left:
                batch = [self._new(name) for _ in range(min(left, 5_000))]
                self.database[name].insert_many(batch, ordered=False)
                left -= len(batch)
                progress(len(batch))

    def change(self, rate: int, seconds: float, stop: Event, done: Counter[str]) -> None:
        keep_pace(rate, seconds, stop, done, TICK, lambda due: self._write(due, done))

    def _write(self, count: int, done: Counter[str]) -> None:
        names = self.rng.choices(list(SHARES), weights=list(SHARES.values()), k=count)
        for name, wanted in Counter(names).items():
            writes = [self._change(name, done) for _ in range(wanted)]
            # Unordered: three commands, inserts before updates before deletes, instead of one per change.
            self.database[name].bulk_write(writes, ordered=False)

    def _change(self, name: str, done: Counter[str]) -> Write:
        ids = self.ids[name]
        choice = self.rng.random()
        if choice < 0.35 or not ids:
            done[INSERTED] += 1
            return InsertOne(self._new(name))
        at = self.rng.randrange(len(ids))
        if choice < 0.8:
            done[UPDATED] += 1
            return UpdateOne({"_id": ids[at]}, self._update(name))
        done[DELETED] += 1
        ids[at], ids[-1] = ids[-1], ids[at]
        return DeleteOne({"_id": ids.pop()})

    def _new(self, name: str) -> Document:
        match name:
            case "orders":
                document = self._order()
            case "customers":
                document = self._customer()
            case _:
                document = self._product()
        self.ids[name].append(document["_id"])
        return document

    def _order(self) -> Document:
        lines = [
            {
                "sku": f"SKU-{self.rng.randint(1, 5000):05}",
                "quantity": self.rng.randint(1, 9),
                "price": self._price(),
            }
            for _ in range(self.rng.randint(1, 4))
        ]
        return {
            "_id": ObjectId(self.rng.randbytes(12)),
            "customer": self.rng.randint(1, 1_000_000),
            "status": "new",
            "ordered_at": datetime(2026, 1, 1, tzinfo=UTC)
            + timedelta(milliseconds=self.rng.randrange(10**10)),
            "lines": lines,
            "delivery": {
                "city": self.rng.choice(CITIES),
                "address": {"street": self._text(12), "zip": self._zip()},
            },
            "coupons": [self._text(6) for _ in range(self.rng.randint(0, 2))],
            "paid": self.rng.random() < 0.5,
        }

    def _customer(self) -> Document:
        self.made["customers"] += 1
        return {
            "_id": self.made["customers"],
            "name": f"{self._text(6).title()} {self._text(9).title()}",
            "email": f"{self._text(8)}@example.org",
            "address": {"city": self.rng.choice(CITIES), "zip": self._zip()},
            "points": self.rng.choice((self.rng.randint(0, 9_999), self.rng.randint(2**32, 2**40))),
        }

    def _product(self) -> Document:
        self.made["products"] += 1
        return {
            "_id": f"SKU-{self.made['products']:05}",
            "title": self._text(20),
            "price": self._price(),
            "weight_kg": round(self.rng.uniform(0.1, 40), 3),
            "stock": {"berlin": self.rng.randint(0, 99), "oslo": self.rng.randint(0, 99)},
        }

    def _update(self, name: str) -> Document:
        match name:
            case "orders":
                status = self.rng.choice(("paid", "packed", "sent", "returned"))
                return {"$set": {"status": status, "delivery.address.street": self._text(12)}}
            case "customers":
                return {"$inc": {"points": self.rng.randint(1, 50)}}
            case _:
                return {"$set": {"price": self._price()}, "$inc": {"stock.berlin": -1}}

    def _price(self) -> Decimal128:
        return Decimal128(f"{self.rng.randint(1, 99_999) / 100:.2f}")

    def _zip(self) -> str:
        return f"{self.rng.randint(1_000, 99_999):05}"

    def _text(self, length: int) -> str:
        return "".join(self.rng.choices(string.ascii_lowercase, k=length))


@contextmanager
def open_shop(uri: str, seed: int) -> Iterator[Shop]:
    """``uri``: of a server."""
    client: MongoClient[Document] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    with client:
        yield Shop(client[DATABASE], random.Random(seed))
