"""What breaks the way from source to lake on real components: it is told by name, and the documented commands
get on. Afterwards every row is proven, in both formats."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest
from confluent_kafka.admin import AdminClient

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import snapshot
from cdc_platform.connect.status import Progress
from cdc_platform.core.errors import StreamReplaced
from cdc_platform.core.model import Format
from cdc_platform.core.position import Engine
from cdc_platform.local.stack import Stack
from cdc_platform.operate.capturing import connector_of
from cdc_platform.operate.rebuilding import Origin, rebuild
from cdc_platform.operate.reconciling import reconcile
from cdc_platform.replicate import Failure
from cdc_platform.verify.capturing import Capturing, Connector
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.databases import database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake
from tests.stack.topics import read

pytestmark = pytest.mark.stack

BOTH = (Format.DELTA, Format.ICEBERG)
NEVER = 2_000_000_000
"""A cluster time, in seconds, that no server has come to: the year 2033."""


def proven(lake: Lake, table: str) -> None:
    """And nothing is said against its connector."""
    found = connector_of(lake.settings, lake.source)
    assert found.state is Capturing.RUNNING, found.told
    for result in lake.proofs(table):
        assert result.verdict is Verdict.PASS, result.text


def read_anew(lake: Lake, connect: ConnectClient, table: str, *gone: str) -> None:
    """As the remedy says: a snapshot, and a reconciliation that finds the rows that are gone."""
    snapshot(lake.source, connect)
    eventually(lambda: connect.progress(lake.source.connector) is Progress.STREAM)
    assert set(reconcile(lake.settings, lake.source, table).rows) == set(gone)
    proven(lake, table)


@pytest.fixture
def orders(declare: Declare, mongo: Mongo, stack: Stack, tmp_path: Path) -> Lake:
    """Twenty orders of MongoDB, proven."""
    source = declare("orders", formats=BOTH)
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    mongo[source.database].orders.insert_many([{"_id": n, "qty": n} for n in range(20)])
    proven(lake, "orders")
    return lake


def rested(connect: ConnectClient, name: str, meanwhile: Callable[[httpx.Client], None]) -> None:
    """What happens while the connector is stopped."""
    with httpx.Client(base_url=f"{connect.url}/connectors/{name}", timeout=60, trust_env=False) as client:
        client.put("/stop").raise_for_status()
        eventually(lambda: not connect.status(name).tasks)
        meanwhile(client)
        client.put("/resume").raise_for_status()
    eventually(lambda: bool(connect.status(name).tasks), 60)


def moved_to(token: Callable[[str], str]) -> Callable[[httpx.Client], None]:
    """Puts another resume token into the connector's position."""

    def put(client: httpx.Client) -> None:
        told: dict[str, Any] = client.get("/offsets").raise_for_status().json()
        for each in told["offsets"]:
            known = bson.decode(base64.b64decode(each["offset"]["resume_token"]))
            other = bson.encode({"_data": token(known["_data"])})
            each["offset"]["resume_token"] = base64.b64encode(other).decode()
        client.patch("/offsets", json=told).raise_for_status()

    return put


def failed(lake: Lake) -> Connector:
    found: list[Connector] = []

    def seen() -> bool:
        found.append(connector_of(lake.settings, lake.source))
        return found[-1].state is Capturing.FAILED

    eventually(seen, 60)
    assert "cdc connector snapshot" in found[-1].remedy
    assert "cdc reconcile" in found[-1].remedy
    return found[-1]


def test_a_topic_that_was_made_again_stops_its_table_and_a_rebuild_from_the_source_gets_on(
    orders: Lake, mongo: Mongo, stack: Stack, connect: ConnectClient
) -> None:
    collection, topic = mongo[orders.source.database].orders, orders.source.topic("orders")
    stood = orders.waiting("orders")
    admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})

    def deleted(_: httpx.Client) -> None:
        admin.delete_topics([topic])[topic].result(timeout=10)
        collection.update_many({"_id": {"$lt": 5}}, {"$set": {"qty": 100}})
        collection.delete_many({"_id": {"$gte": 18}})

    rested(connect, orders.source.connector, deleted)
    read(stack.endpoints.kafka_bootstrap, topic, 5 + 2, within=60)
    failures = [each.error for each in orders.drain("orders") if isinstance(each, Failure)]
    assert len(failures) == 2 * len(BOTH)
    for error in failures:
        assert isinstance(error, StreamReplaced)
        assert error.what.startswith("its topic was deleted and made again: the table has the records of")
        _, _, offsets = error.what.partition("up to offsets ")
        told = [int(each.partition(":")[2]) for each in offsets.partition(",")[0].split()]
        assert sum(told) == stood
        assert "cdc rebuild TABLE --from source" in error.remedy
    rebuild(orders.settings, orders.source, "orders", Origin.SOURCE, print)
    proven(orders, "orders")
    assert orders.current("orders").height == 18
    collection.update_many({}, {"$inc": {"qty": 1}})
    proven(orders, "orders")


def test_a_replication_slot_that_is_gone_is_named_and_a_snapshot_with_a_reconciliation_gets_on(
    stack: Stack, connect: ConnectClient, postgresql_uri: str, registry_url: str, tmp_path: Path
) -> None:
    with database(Engine.POSTGRESQL, postgresql_uri) as db:
        db.run("CREATE TABLE items (id int PRIMARY KEY, v int)", "INSERT INTO items VALUES (1, 1), (2, 2)")
        with sql_lake(stack, connect, db, tmp_path, ["items"], formats=BOTH) as lake:
            table = captured(db, "items")
            proven(lake, table)

            def dropped(_: httpx.Client) -> None:
                held = f"FROM pg_replication_slots WHERE slot_name = '{lake.source.slot}'"
                with db.session() as session:
                    eventually(lambda: not session.run(f"SELECT {held} AND active"))
                    session.run(f"SELECT pg_drop_replication_slot(slot_name) {held}")
                db.run("DELETE FROM items WHERE id = 1", "INSERT INTO items VALUES (3, 3)")

            rested(connect, lake.source.connector, dropped)
            assert "the connector's replication slot is gone" in failed(lake).remedy
            read_anew(lake, connect, table, '{"id":1}')


def test_a_resume_token_that_the_oplog_does_not_have_is_named_and_a_snapshot_gets_on(
    orders: Lake, mongo: Mongo, connect: ConnectClient
) -> None:
    rested(connect, orders.source.connector, moved_to(lambda _: "ZZZZ"))
    assert "resume token" in failed(orders).remedy
    mongo[orders.source.database].orders.delete_one({"_id": 3})
    read_anew(orders, connect, "orders", "3")


@pytest.mark.matrix
def test_a_connector_that_is_ahead_of_a_server_that_was_restored_is_told_and_a_snapshot_gets_on(
    orders: Lake, mongo: Mongo, connect: ConnectClient
) -> None:
    ahead = moved_to(lambda token: f"{token[:2]}{NEVER:08X}{token[10:]}")
    rested(connect, orders.source.connector, ahead)
    mongo[orders.source.database].orders.delete_one({"_id": 3})
    assert "the database was restored to an earlier state" in failed(orders).told
    read_anew(orders, connect, "orders", "3")


@pytest.mark.matrix
def test_a_database_that_was_dropped_and_restored_from_a_dump_is_told_and_a_snapshot_gets_on(
    orders: Lake, mongo: Mongo, connect: ConnectClient
) -> None:
    collection = mongo[orders.source.database].orders
    dump = list(collection.find())
    collection.insert_one({"_id": 20, "qty": 20})
    collection.update_one({"_id": 3}, {"$set": {"qty": 300}})
    proven(orders, "orders")
    mongo.drop_database(orders.source.database)
    collection.insert_many(dump)
    assert "it runs and does not hear all" in failed(orders).told
    read_anew(orders, connect, "orders", "20")


@pytest.mark.matrix
def test_a_connector_that_is_ahead_of_postgresql_is_told_and_a_snapshot_gets_on(
    stack: Stack, connect: ConnectClient, postgresql_uri: str, registry_url: str, tmp_path: Path
) -> None:
    with database(Engine.POSTGRESQL, postgresql_uri) as db:
        db.run("CREATE TABLE items (id int PRIMARY KEY, v int)", "INSERT INTO items VALUES (1, 1), (2, 2)")
        with sql_lake(stack, connect, db, tmp_path, ["items"], formats=BOTH) as lake:
            table = captured(db, "items")
            proven(lake, table)
            rested(connect, lake.source.connector, ahead)
            db.run("DELETE FROM items WHERE id = 1", "INSERT INTO items VALUES (3, 3)")
            assert "restored to an earlier state" in failed(lake).told
            read_anew(lake, connect, table, '{"id":1}')


def ahead(client: httpx.Client) -> None:
    """Puts the connector's position beyond all that the server has written."""
    told: dict[str, Any] = client.get("/offsets").raise_for_status().json()
    for each in told["offsets"]:
        moved = {name: value + 2**40 for name, value in each["offset"].items() if name.startswith("lsn")}
        each["offset"] |= moved
    client.patch("/offsets", json=told).raise_for_status()
