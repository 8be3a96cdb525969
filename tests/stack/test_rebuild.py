"""Tables made anew on real components, in both formats, and proven against their source afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable, write_deltalake

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.position import Engine
from cdc_platform.local.stack import Stack
from cdc_platform.operate.checking import verify
from cdc_platform.operate.rebuilding import Origin, rebuild
from cdc_platform.platform import holds, lake_table
from cdc_platform.replicate import Failure
from cdc_platform.verify.finding import PROOF, Check
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.crash.processes import children
from tests.stack.databases import Database, database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake

pytestmark = pytest.mark.stack

BOTH = (Format.DELTA, Format.ICEBERG)


def proven(lake: Lake, table: str) -> None:
    for result in lake.proofs(table):
        assert result.verdict is Verdict.PASS, result.text


def sound(lake: Lake, table: str) -> None:
    """Proven, and whole by itself."""
    proven(lake, table)
    checks = frozenset(Check) - PROOF - {Check.LAG}
    wanted = {Target(table, stored): checks for stored in BOTH}
    found = list(verify(lake.settings, lake.source, wanted))
    assert {each.verdict for each in found} == {Verdict.PASS}, [each.text for each in found]


def rebuilt(lake: Lake, table: str, origin: Origin) -> None:
    done = rebuild(lake.settings, lake.source, table, origin, print)
    assert {each.format for each in done} == set(BOTH)


def fields(lake: Lake, table: str, stored: Format) -> set[str]:
    rows = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows()
    return set(rows.collect_schema())


@pytest.fixture
def orders(declare: Declare, mongo: Mongo, stack: Stack, tmp_path: Path) -> Lake:
    """A hundred orders of MongoDB in both formats, some of them changed since."""
    source = declare("orders", formats=BOTH)
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    collection = mongo[source.database].orders
    collection.insert_many([{"_id": n, "qty": n, "tag": "new"} for n in range(100)])
    collection.update_many({"_id": {"$lt": 20}}, {"$set": {"tag": "seen"}})
    collection.delete_many({"_id": {"$gte": 95}})
    proven(lake, "orders")
    return lake


def damaged(lake: Lake, kind: Kind, wrong: pl.Expr) -> None:
    """Delta's table with some rows otherwise, or without, as another engine may write it."""
    place = DeltaTable(lake_table(lake.settings, lake.source, "orders", kind).uri)
    if kind is Kind.CHANGELOG:
        place.alter.set_table_properties({"delta.appendOnly": "false"})
    rows = pl.DataFrame(lake_table(lake.settings, lake.source, "orders", kind).rows().collect())
    write_deltalake(place, rows.with_columns(wrong).to_arrow(), mode="overwrite")


def test_a_damaged_current_state_is_made_anew_from_its_changelog(orders: Lake) -> None:
    damaged(orders, Kind.CURRENT, pl.lit("damaged").alias("tag"))
    assert Verdict.FAIL in {result.verdict for result in orders.proofs("orders")}
    rebuilt(orders, "orders", Origin.CHANGELOG)
    proven(orders, "orders")


def test_a_damaged_changelog_is_made_anew_from_kafka(orders: Lake, mongo: Mongo) -> None:
    damaged(orders, Kind.CHANGELOG, pl.col("qty") + 1)
    rebuilt(orders, "orders", Origin.CHANGELOG)
    assert Verdict.FAIL in {result.verdict for result in orders.proofs("orders")}, (
        "it was made of damaged rows"
    )
    rebuilt(orders, "orders", Origin.KAFKA)
    sound(orders, "orders")
    mongo[orders.source.database].orders.update_many({}, {"$inc": {"qty": 1}})
    proven(orders, "orders")


def test_records_that_kafka_removed_too_early_stop_the_table_until_it_is_made_anew_from_its_source(
    orders: Lake, mongo: Mongo, stack: Stack
) -> None:
    collection, before = mongo[orders.source.database].orders, orders.waiting("orders")
    collection.update_many({"_id": {"$lt": 50}}, {"$set": {"tag": "lost"}})
    collection.delete_many({"_id": {"$lt": 5}})
    topic = orders.source.topic("orders")
    eventually(lambda: orders.waiting("orders") >= before + 50 + 5)
    admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
    for removed in admin.delete_records([TopicPartition(topic, p, -1) for p in range(3)]).values():
        removed.result(timeout=10)
    failures = [each for each in orders.drain("orders") if isinstance(each, Failure)]
    assert {each.format for each in failures} == set(BOTH)
    assert all("cdc rebuild" in each.error.remedy for each in failures), failures
    with pytest.raises(CdcError, match="Kafka removed the records"):
        rebuild(orders.settings, orders.source, "orders", Origin.KAFKA, print)
    assert not holds(orders.settings, orders.source).all(), "nothing was exchanged"
    rebuilt(orders, "orders", Origin.SOURCE)
    sound(orders, "orders")
    assert orders.current("orders").height == 90


def test_a_rebuild_that_was_killed_between_two_tables_leaves_them_held_until_it_is_done_again(
    orders: Lake, tmp_path: Path
) -> None:
    words = ("-m", "tests.stack.crash.rebuilder", "orders", Origin.KAFKA)
    with children(orders.source, orders.settings, tmp_path) as processes:
        killed = processes.start(*words, CDC_CRASH_AT="after_rebuild:changelog")
        assert killed.ended() == -signal.SIGKILL, killed.output
        assert "being rebuilt" in holds(orders.settings, orders.source).all()["orders"].reason
        processes.start(*words).succeeded()
    assert not holds(orders.settings, orders.source).all()
    proven(orders, "orders")


@pytest.fixture(scope="module", params=[Engine.POSTGRESQL, Engine.MARIADB])
def db(request: pytest.FixtureRequest, registry_url: str) -> Iterator[Database]:
    with database(request.param, request.getfixturevalue(f"{request.param}_uri")) as made:
        yield made


def test_a_column_of_another_type_takes_its_place_when_the_table_is_made_anew(
    stack: Stack, connect: ConnectClient, db: Database, tmp_path: Path
) -> None:
    db.run("CREATE TABLE items (id int PRIMARY KEY, v int)", "INSERT INTO items VALUES (1, 1), (2, 2)")
    retyped = {
        Engine.POSTGRESQL: "ALTER TABLE items ALTER COLUMN v TYPE varchar(20) USING v::text",
        Engine.MARIADB: "ALTER TABLE items MODIFY v varchar(20)",
    }[db.engine]
    table = captured(db, "items")
    with sql_lake(stack, connect, db, tmp_path, ["items"], formats=BOTH) as lake:
        proven(lake, table)
        db.run(retyped, "INSERT INTO items VALUES (3, 'three')", "DELETE FROM items WHERE id = 2")

        def beside() -> bool:
            lake.drain(table)
            return all({"v", "v__v2"} <= fields(lake, table, stored) for stored in BOTH)

        eventually(beside)
        rebuilt(lake, table, Origin.SOURCE)
        for stored in BOTH:
            assert "v__v2" not in fields(lake, table, stored)
            rows = lake_table(lake.settings, lake.source, table, Kind.CURRENT, stored).rows().collect()
            assert sorted(rows["v"]) == ["1", "three"]
        sound(lake, table)
        db.run("UPDATE items SET v = 'uno' WHERE id = 1", "INSERT INTO items VALUES (2, 'two')")
        sound(lake, table)
