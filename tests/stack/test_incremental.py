"""Proofs that go on from one another, of real databases that are written to: no false alarm, and what a
commit damaged is named."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pymongo import MongoClient

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.position import Engine
from cdc_platform.core.verification import Verification
from cdc_platform.local.stack import Stack
from cdc_platform.platform import lake_table
from cdc_platform.verify.verdict import Result, Verdict
from tests.stack.conftest import Declare
from tests.stack.databases import Database, database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake

pytestmark = pytest.mark.stack

DAY = timedelta(days=1)
BOTH = (Format.DELTA, Format.ICEBERG)
ROWS = 3_000
PROOFS = 5


@contextmanager
def writing(write: Callable[[random.Random, int], None]) -> Iterator[None]:
    """Two writers, each of keys of its own."""
    stop = threading.Event()

    def work(number: int) -> None:
        chance = random.Random(number)
        while not stop.wait(0.01):
            write(chance, number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def proven(lake: Lake, table: str, writers: Callable[[random.Random, int], None]) -> list[Result]:
    """The first proof reads everything, those after it what has changed."""
    first = made(lake, table)
    assert [(each.verdict, each.scope) for each in first] == [(Verdict.PASS, None)] * len(first), first
    found = []
    with writing(writers):
        for _ in range(PROOFS):
            found += made(lake, table)
    found += made(lake, table)
    wrong = [each.text for each in found if each.verdict is not Verdict.PASS or each.scope is None]
    assert wrong == []
    assert any(each.counts.reverted for each in found)
    assert any(each.scope.keys for each in found if each.scope)
    assert found[-1].scope is not None
    assert found[-1].scope.keys < ROWS / 2
    whole = lake.proofs(table)
    assert [each.verdict for each in whole] == [Verdict.PASS] * len(whole)
    return found


def made(lake: Lake, table: str) -> list[Result]:
    """Proofs that could be made: a connector that begins may lock the table of markers for a while."""
    for _ in range(5):
        found = lake.proofs(table, every=DAY)
        if all(each.verdict is not Verdict.UNKNOWN for each in found):
            break
    return found


def damaged(lake: Lake, table: str, condition: str, column: str) -> Result:
    uri = lake_table(lake.settings, lake.source, table, Kind.CURRENT).uri
    DeltaTable(uri).update(predicate=condition, updates={column: "-1"})
    return lake.proofs(table, every=DAY)[0]


@pytest.mark.parametrize("engine", [Engine.POSTGRESQL, Engine.MARIADB])
def test_tables_are_proven_again_and_again_while_they_are_written_to(
    request: pytest.FixtureRequest,
    registry_url: str,
    stack: Stack,
    connect: ConnectClient,
    tmp_path: Path,
    engine: Engine,
) -> None:
    told = Verification(prefilter=engine is Engine.POSTGRESQL)
    with database(engine, request.getfixturevalue(f"{engine}_uri")) as db:
        rows = ", ".join(f"('eu', {n}, 0)" for n in range(ROWS))
        db.run(
            "CREATE TABLE t (region varchar(9), id int, v int, PRIMARY KEY (region, id))",
            f"INSERT INTO t VALUES {rows}",
        )
        with sql_lake(stack, connect, db, tmp_path, ["t"], formats=BOTH, verify=told) as lake:
            table = captured(db, "t")
            found = proven(lake, table, in_transactions(db))
            assert all(each.scope and each.scope.unchanged == told.prefilter for each in found)
            result = damaged(lake, table, "id = 2999", "v")
    assert result.verdict is Verdict.FAIL, result.text
    assert [(each.key, each.columns) for each in result.differing] == [('{"region":"eu","id":2999}', ("v",))]
    assert "No event has changed" in result.text


def in_transactions(db: Database) -> Callable[[random.Random, int], None]:
    def write(chance: random.Random, number: int) -> None:
        with db.session() as session:
            session.run("BEGIN")
            for _ in range(chance.randint(1, 4)):
                key = chance.randrange(0, 200) * 2 + number
                match chance.randrange(3):
                    case 0:
                        session.run(f"DELETE FROM t WHERE region = 'eu' AND id = {key}")
                    case 1:
                        session.run(
                            f"INSERT INTO t SELECT 'eu', {key}, 1 FROM (SELECT 1 AS one) AS o "
                            f"WHERE NOT EXISTS (SELECT 1 FROM t WHERE region = 'eu' AND id = {key})"
                        )
                    case _:
                        session.run(f"UPDATE t SET v = v + 1 WHERE region = 'eu' AND id = {key}")
            session.run("ROLLBACK" if chance.random() < 0.2 else "COMMIT")

    return write


def test_a_collection_is_proven_again_and_again_while_it_is_written_to(
    stack: Stack, mongo: MongoClient[dict[str, Any]], declare: Declare, tmp_path: Path
) -> None:
    source = declare("t", formats=BOTH)
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    collection = mongo[source.database]["t"]
    collection.insert_many([{"_id": key, "v": 0} for key in range(ROWS)])

    def write(chance: random.Random, number: int) -> None:
        key = chance.randrange(0, 200) * 2 + number
        if chance.random() < 0.3:
            collection.delete_one({"_id": key})
        else:
            collection.update_one({"_id": key}, {"$inc": {"v": 1}}, upsert=True)

    found = proven(lake, "t", write)
    assert not any(each.scope and each.scope.unchanged for each in found)
    result = damaged(lake, "t", "`_id` = 2999", "v")
    assert result.verdict is Verdict.FAIL, result.text
    assert [each.key for each in result.differing] == ["2999"]
