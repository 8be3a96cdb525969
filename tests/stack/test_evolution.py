"""Schemas that change in the middle of a running stream: the six scenarios, into both formats, each proven
against the source before and after."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import polars as pl
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.signals import read_again
from cdc_platform.core.columns import OPERATION, READ
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.position import Engine
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from cdc_platform.platform import lake_table, replicas, utc_now
from cdc_platform.replicate import Failure
from cdc_platform.replicate.schema_history import read_history
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import eventually
from tests.stack.databases import Database, database
from tests.stack.sql_lake import SqlLake, captured, sql_lake

pytestmark = pytest.mark.stack

TABLES = ("added", "dropped", "widened", "retyped", "renamed", "declared", "several")
COLUMNS = "id int PRIMARY KEY, v int, name varchar(20), price decimal(10,2)"
BOTH = (Format.DELTA, Format.ICEBERG)


@pytest.fixture(scope="module", params=[Engine.POSTGRESQL, Engine.MARIADB])
def db(request: pytest.FixtureRequest, registry_url: str) -> Iterator[Database]:
    with database(request.param, request.getfixturevalue(f"{request.param}_uri")) as made:
        for table in TABLES:
            made.run(f"CREATE TABLE {table} ({COLUMNS})", rows(table, 0))
        yield made


@pytest.fixture(scope="module")
def lake(
    stack: Stack, connect: ConnectClient, db: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlLake]:
    refusing = {captured(db, "retyped"): Compatibility.BACKWARD}
    root = tmp_path_factory.mktemp("lake")
    with sql_lake(stack, connect, db, root, TABLES, formats=BOTH, collection_compatibility=refusing) as lake:
        yield lake


def rows(table: str, number: int) -> str:
    """Four more rows, with columns that every version of a table has."""
    values = ", ".join(f"({number * 4 + n}, {n})" for n in range(4))
    return f"INSERT INTO {table} (id, v) VALUES {values}"


def proven(lake: SqlLake, table: str) -> None:
    for result in lake.proofs(table):
        assert result.verdict is Verdict.PASS, result.text


def changes_of(lake: SqlLake, table: str) -> list[list[str]]:
    """What the history of the schema tells, by format."""
    log = KafkaLog(lake.settings.kafka_bootstrap)
    found = replicas(lake.settings, lake.source, log, {table: frozenset(Kind)})
    return [
        [f"{each.state}: {each.changes}" for each in read_history(replica.history.table, replica.stream)]
        for replica in found
        if replica.history.table is not None
    ]


def read_all_again(lake: SqlLake, table: str, rows: int) -> None:
    """Have the connector read the table's rows, and wait until they are in the lake."""

    def read() -> int:
        lake.drain(table)
        return lake.changes(table).filter(pl.col(OPERATION) == READ).height

    before = read()
    read_again(lake.source, [table], uuid.uuid4().hex)
    eventually(lambda: read() >= before + rows)


def test_a_column_is_added(lake: SqlLake, db: Database) -> None:
    table = captured(db, "added")
    proven(lake, table)
    db.run(rows("added", 1), "ALTER TABLE added ADD COLUMN extra varchar(9)", rows("added", 2))
    db.run("UPDATE added SET extra = 'x' WHERE id < 3")
    proven(lake, table)
    for told in changes_of(lake, table):
        assert told == ["taken: first seen", "taken: added extra string"]


def test_a_column_is_dropped(lake: SqlLake, db: Database) -> None:
    table = captured(db, "dropped")
    proven(lake, table)
    db.run("UPDATE dropped SET name = 'kept'", "ALTER TABLE dropped DROP COLUMN name", rows("dropped", 1))
    db.run("DELETE FROM dropped WHERE id = 1")
    proven(lake, table)
    for stored in BOTH:
        kept = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows().collect()
        assert set(kept["name"]) == {"kept", None}, "what was there stays readable"


def test_a_type_is_changed_to_a_wider_one(lake: SqlLake, db: Database) -> None:
    table = captured(db, "widened")
    proven(lake, table)
    change = {
        Engine.POSTGRESQL: "ALTER COLUMN v TYPE bigint, ALTER COLUMN price TYPE numeric(20,2)",
        Engine.MARIADB: "MODIFY v bigint, MODIFY price decimal(20,2)",
    }[db.engine]
    db.run(rows("widened", 1), f"ALTER TABLE widened {change}", rows("widened", 2))
    db.run("UPDATE widened SET v = 9007199254740993, price = 123456789012345678.25 WHERE id = 9")
    proven(lake, table)
    for stored in BOTH:
        rows_now = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows()
        assert not [name for name in rows_now.collect_schema() if "__v" in name]


def test_a_type_is_changed_to_one_that_does_not_fit_and_is_rejected_until_it_is_accepted(
    lake: SqlLake, db: Database
) -> None:
    table = captured(db, "retyped")
    proven(lake, table)
    change = {
        Engine.POSTGRESQL: "ALTER COLUMN v TYPE varchar(20) USING v::text",
        Engine.MARIADB: "MODIFY v varchar(20)",
    }[db.engine]
    db.run(rows("retyped", 1), f"ALTER TABLE retyped {change}", rows("retyped", 2))
    failures: list[Failure] = []

    def stopped() -> bool:
        failures[:] = [each for each in lake.drain(table) if isinstance(each, Failure)]
        return {each.format for each in failures} == set(BOTH)

    eventually(stopped)
    for failure in failures:
        assert isinstance(failure.error, SchemaRefused)
        assert "v is int32 in one and string in the other" in failure.error.what
    other = captured(db, "several")
    proven(lake, other)
    log = KafkaLog(lake.settings.kafka_bootstrap)
    for replica in replicas(lake.settings, lake.source, log, {table: frozenset(Kind)}):
        [taken] = replica.history.accept(replica.stream, utc_now())
        assert taken.changes == "v: int32 became string"
    read_all_again(lake, table, 12)
    proven(lake, table)
    for stored in BOTH:
        kept = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows().collect()
        assert kept["v"].null_count() == kept.height == 12
        assert kept["v__v2"].null_count() == 0


def test_a_column_is_renamed(lake: SqlLake, db: Database) -> None:
    table = captured(db, "renamed")
    proven(lake, table)
    db.run("UPDATE renamed SET name = 'old'", "ALTER TABLE renamed RENAME COLUMN name TO title")
    db.run(rows("renamed", 1), "UPDATE renamed SET title = 'new' WHERE id > 5")
    read_all_again(lake, table, 8)
    proven(lake, table)
    for told in changes_of(lake, table):
        assert told == ["taken: first seen", "taken: added title string; dropped name string"]


def test_a_rename_that_is_declared_goes_on_in_the_column_that_was_there(lake: SqlLake, db: Database) -> None:
    table = captured(db, "declared")
    proven(lake, table)
    db.run("UPDATE declared SET name = 'old'", "ALTER TABLE declared RENAME COLUMN name TO title")
    db.run(rows("declared", 1), "UPDATE declared SET title = 'new' WHERE id > 5")
    eventually(lambda: lake.waiting(table) >= 14)
    proven(lake.declared(renamed={table: {"title": "name"}}), table)
    for stored in BOTH:
        kept = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows().collect()
        assert "title" not in kept.columns
        assert set(kept["name"]) == {"old", "new", None}


def test_several_changes_at_once_from_sessions_beside_each_other(lake: SqlLake, db: Database) -> None:
    table = captured(db, "several")
    proven(lake, table)
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.wait(0.01):
            db.run(rows("several", number))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        alterations = [threading.Thread(target=db.run, args=(f"ALTER TABLE several {what}",)) for what in (
            "ADD COLUMN a varchar(9)", "ADD COLUMN b int", "DROP COLUMN price",
        )]  # fmt: skip
        for each in alterations:
            each.start()
        for each in alterations:
            each.join()
        db.run("UPDATE several SET a = 'a', b = id WHERE id % 3 = 0")
        proven(lake, table)
    finally:
        stop.set()
        writer.join()
    proven(lake, table)
