"""Rounds of proofs against a source that is written to, and what came of each.

Invariants
- In a round without damage every verdict has to be ``pass``: ``fail`` is a false alarm.
- In a control one row of one format is damaged, whose writer is still meanwhile; the others go on. That
  format has to fail and name that very key with what is wrong with it, the other format has to pass.
- The comparison by numbers shares no code with the proofs: keys and numbers as the database gives them,
  against those in the lake's tables.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format, Kind, Limits
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Endpoints, Stack
from cdc_platform.platform import lake_of, lake_table, table_name
from cdc_platform.verify.verdict import Result, Verdict
from tests.stack.concurrent import documents, rows
from tests.stack.concurrent.damage import NAMED_AS, Damage, Damaged, damage
from tests.stack.concurrent.documents import OWN, DocumentScribe
from tests.stack.concurrent.rows import RowScribe
from tests.stack.concurrent.writers import Writers
from tests.stack.conftest import Mongo
from tests.stack.databases import database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake

DAMAGED = 0
"""The writer whose rows are damaged."""

FORMATS = tuple(Format)
QUICK = Limits(current_age=0.5)


@dataclass(frozen=True, slots=True)
class Verification:
    """One proof of the table in one format. ``expected``: the verdict it has to give. ``wrong``: why it is
    not what it has to be; empty if it is."""

    format: Format
    expected: Verdict
    verdict: Verdict
    position: str
    rows: int | None
    reverted: int | None
    seconds: float
    wrong: str = ""

    @property
    def unknown(self) -> bool:
        """Neither a false alarm nor a false pass, and no proof."""
        return self.verdict is Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Round:
    """``damage``, ``key``: of a control."""

    number: int
    verifications: tuple[Verification, ...]
    damage: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Arena:
    """One captured table and its writers. ``keys``: its key's columns. ``mine``: true of the rows whose
    writer is DAMAGED."""

    lake: Lake
    table: str
    writers: Writers
    keys: Sequence[str]
    mine: pl.Expr

    def play(self, number: int) -> Round:
        """Proofs of both formats at one position."""
        return Round(number, tuple(_expected_to_pass(each) for each in self.lake.proofs(self.table)))

    def control(self, number: int, seed: str) -> Round:
        """Proofs that pass, damage, and proofs of which one must not."""
        chance = random.Random(seed)
        with self.writers.still(DAMAGED):
            before = [_expected_to_pass(each) for each in self.lake.proofs(self.table)]
            spoiled, done = self._damage(chance)
            try:
                after = self.lake.proofs(self.table)
            finally:
                done.mend()
        judged = [
            _expected_to_fail(each, done) if each.format is spoiled else _expected_to_pass(each)
            for each in after
        ]
        return Round(number, (*before, *judged), done.damage, done.key)

    def assert_same_numbers(self) -> int:
        """Nobody writes, and the lake holds the very rows that the database has. Returns their number."""
        with self.writers.still():
            self.lake.proofs(self.table)
            expected = dict(self.writers.scribe.standing())
            for stored in FORMATS:
                found = self._stored(Kind.CURRENT, stored).rows().select(*self.keys, "n").collect()
                assert found.height == len(expected), f"{stored}: {found.height} rows of {len(expected)}"
                held = {tuple(key): number for *key, number in found.iter_rows()}
                assert held == expected, f"{stored}: {held.items() ^ expected.items()}"
        return len(expected)

    def compact(self) -> None:
        """As the upkeep does, while everything goes on."""
        for stored in FORMATS:
            for kind in Kind:
                lake_of(self.lake.settings, stored).compact(table_name(self.lake.source, self.table, kind))

    def _damage(self, chance: random.Random) -> tuple[Format, Damaged]:
        spoiled, ways = chance.choice(FORMATS), chance.sample(list(Damage), len(Damage))
        topic = self.lake.source.topic(self.table)
        stream = KafkaLog(self.lake.settings.kafka_bootstrap).streams([topic])[topic]
        tables = self._stored(Kind.CHANGELOG, spoiled), self._stored(Kind.CURRENT, spoiled)
        for how in ways:
            done = damage(how, chance, stream, tables, self.mine, self.keys)
            if done is not None:
                return spoiled, done
        raise AssertionError("the damaged writer has no rows yet")

    def _stored(self, kind: Kind, stored: Format) -> StoredTable:
        return lake_table(self.lake.settings, self.lake.source, self.table, kind, stored)


def _expected_to_pass(result: Result) -> Verification:
    return _verification(result, Verdict.PASS, "" if result.verdict is Verdict.PASS else result.text)


def _expected_to_fail(result: Result, done: Damaged) -> Verification:
    named = [(each.key, each.kind) for each in result.differing]
    right = result.verdict is Verdict.FAIL and named == [(done.key, NAMED_AS[done.damage])]
    return _verification(result, Verdict.FAIL, "" if right else f"{done.damage} at {done.key}: {result.text}")


def _verification(result: Result, expected: Verdict, wrong: str) -> Verification:
    return Verification(
        format=result.format,
        expected=expected,
        verdict=result.verdict,
        position=str(result.position or ""),
        rows=result.counts.source,
        reverted=result.counts.reverted,
        seconds=round(result.seconds, 3),
        wrong=wrong,
    )


@contextmanager
def arena(
    engine: Engine, stack: Stack, mongo: Mongo, connect: ConnectClient, root: Path, seed: int
) -> Iterator[Arena]:
    """A table of its own, captured into both formats, whose writers are at work."""
    services = () if engine is Engine.MONGODB else (engine.value, "registry")
    uri = uri_of(engine, stack.up(services=services) if services else stack.endpoints)
    make = _of_documents if engine is Engine.MONGODB else _of_rows
    with make(engine, stack, mongo, connect, uri, root, seed) as made, made.writers.at_work():
        yield made


def uri_of(engine: Engine, endpoints: Endpoints) -> str:
    match engine:
        case Engine.MONGODB:
            return endpoints.mongodb_uri
        case Engine.POSTGRESQL:
            return endpoints.postgresql_uri
    return endpoints.mariadb_uri


@contextmanager
def _of_documents(
    engine: Engine, stack: Stack, mongo: Mongo, connect: ConnectClient, uri: str, root: Path, seed: int
) -> Iterator[Arena]:
    name = f"t{uuid.uuid4().hex[:12]}"
    source = Source(name=name, uri=uri, database=name, collections=("orders",), formats=FORMATS, limits=QUICK)
    lake = Lake(stack, source, root)
    try:
        lake.deploy()
        mine = pl.col("_id").is_between(DAMAGED * OWN, DAMAGED * OWN + documents.KEYS - 1)
        writers = Writers(DocumentScribe(mongo[name]["orders"]), seed)
        yield Arena(lake, "orders", writers, ("_id",), mine)
    finally:
        connect.delete(source.connector)
        mongo.drop_database(name)


@contextmanager
def _of_rows(
    engine: Engine, stack: Stack, mongo: Mongo, connect: ConnectClient, uri: str, root: Path, seed: int
) -> Iterator[Arena]:
    with database(engine, uri) as db:
        scribe = RowScribe(db, "orders")
        scribe.create()
        with sql_lake(stack, connect, db, root, ("orders",), formats=FORMATS, limits=QUICK) as lake:
            mine = (pl.col("region") == f"r{DAMAGED}") & (pl.col("id") < rows.KEYS)
            yield Arena(lake, captured(db, "orders"), Writers(scribe, seed), ("region", "id"), mine)
