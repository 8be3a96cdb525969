"""MongoDB's writers: single writes, bulks, transactions over several documents, some of them large, some
aborted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from bson import Int64
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.stack.concurrent.writers import Hand, chosen

KEYS = 200
"""Of each writer; those of large transactions lie beyond."""
OWN = 1_000_000
"""Keys between one writer's first and the next one's."""

Documents = Collection[dict[str, Any]]
Step = InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]] | UpdateOne | DeleteOne


@dataclass(frozen=True, slots=True)
class DocumentScribe:
    table: Documents

    @contextmanager
    def hand(self, number: int, numbers: Iterator[int], stop: Event) -> Iterator[Hand]:
        yield DocumentHand(self.table, number, numbers, stop)

    def standing(self) -> Mapping[tuple[object, ...], int]:
        return {(each["_id"],): each["n"] for each in self.table.find({}, {"n": 1})}

    def owner(self, key: Mapping[str, object]) -> int:
        return int(str(key["_id"])) // OWN


@dataclass(frozen=True, slots=True)
class DocumentHand:
    table: Documents
    number: int
    numbers: Iterator[int]
    stop: Event

    def write(self, chance: random.Random) -> str:
        return chosen(chance, {self._single: 50, self._bulk: 15, self._transaction: 34, self._large: 1})

    def _single(self, chance: random.Random) -> str:
        self.table.bulk_write([self._step(chance)])
        return "single"

    def _bulk(self, chance: random.Random) -> str:
        self.table.bulk_write([self._step(chance) for _ in range(chance.randint(2, 20))], ordered=False)
        return "bulk"

    def _transaction(self, chance: random.Random) -> str:
        """Over several documents; one of them is deleted and comes back."""
        again, steps = self._key(chance), [self._step(chance) for _ in range(chance.randint(1, 4))]
        steps += [DeleteOne({"_id": again}), ReplaceOne({"_id": again}, self._document(chance), upsert=True)]
        return self._together(steps, chance, "transaction")

    def _large(self, chance: random.Random) -> str:
        """A thousand documents at once: all new, or all gone."""
        first = self.number * OWN + OWN // 2
        rows = range(first, first + chance.randint(300, 1_000))
        steps: list[Step] = [DeleteOne({"_id": key}) for key in range(first, first + 1_000)]
        if chance.random() < 0.6:
            steps += [InsertOne({"_id": key, **self._document(chance)}) for key in rows]
        return self._together(steps, chance, "large transaction")

    def _together(self, steps: list[Step], chance: random.Random, what: str) -> str:
        with self.table.database.client.start_session() as session:
            session.start_transaction()
            try:
                self.table.bulk_write(steps, session=session)
                if chance.random() < 0.2:
                    self.stop.wait(chance.uniform(0, 0.3))  # a position may fall into it
                if chance.random() < 0.25:
                    session.abort_transaction()
                    return f"{what}, aborted"
                session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
                return f"{what}, aborted by the server"
        return what

    def _step(self, chance: random.Random) -> Step:
        key = {"_id": self._key(chance)}
        match chance.randrange(6):
            case 0:
                return DeleteOne(key)
            case 1 | 2:
                changed = {"n": Int64(next(self.numbers)), "price": chance.randrange(10_000) / 100}
                return UpdateOne(key, {"$set": changed, "$unset": {"note": 1}}, upsert=True)
        return ReplaceOne(key, self._document(chance), upsert=True)

    def _key(self, chance: random.Random) -> int:
        return self.number * OWN + chance.randrange(KEYS)

    def _document(self, chance: random.Random) -> dict[str, Any]:
        return {
            "n": Int64(next(self.numbers)),
            "price": chance.choice([0.5, -0.0, 1e300, chance.randrange(10_000) / 100]),
            "status": chance.choice(["open", "ß😀", "", None]),
            "note": f"written by {self.number}, {chance.randrange(10**6)}",
        }
