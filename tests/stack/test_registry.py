"""The schema registry: many registrations, versions that nothing needs any more, and one that refuses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.errors import Transient
from cdc_platform.core.position import Engine
from cdc_platform.kafka.registry import SchemaRegistry
from cdc_platform.local.stack import Stack
from cdc_platform.operate.pruning import old_versions, prune
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import eventually
from tests.stack.databases import Database, database
from tests.stack.sql_lake import SqlLake, captured, sql_lake

pytestmark = pytest.mark.stack


class Writer:
    """Registers schemas, as the connector does."""

    def __init__(self, url: str) -> None:
        self._url = url

    def register(self, subject: str, schema: str) -> int:
        answer = httpx.post(f"{self._url}/subjects/{subject}/versions", json={"schema": schema}, timeout=10)
        answer.raise_for_status()
        return int(answer.json()["id"])

    def require(self, subject: str, compatibility: str) -> None:
        told = {"compatibility": compatibility}
        httpx.put(f"{self._url}/config/{subject}", json=told, timeout=10).raise_for_status()


@pytest.fixture
def client(registry_url: str) -> Writer:
    return Writer(registry_url)


@pytest.fixture
def lake(
    stack: Stack, connect: ConnectClient, postgresql_uri: str, registry_url: str, tmp_path: Path
) -> Iterator[tuple[SqlLake, Database]]:
    with database(Engine.POSTGRESQL, postgresql_uri) as db:
        db.run("CREATE TABLE orders (id int PRIMARY KEY, v int)", "INSERT INTO orders VALUES (1, 1)")
        with sql_lake(stack, connect, db, tmp_path, ["orders"]) as lake:
            yield lake, db


def record(name: str, fields: int) -> str:
    columns = [{"name": f"f{n}", "type": ["null", "long"], "default": None} for n in range(fields)]
    return orjson.dumps({"type": "record", "name": name, "fields": columns}).decode()


def test_a_hundred_versions_are_registered_in_a_minute_and_read_again(
    client: Writer, registry_url: str
) -> None:
    subject, began = f"t{uuid.uuid4().hex[:12]}-value", time.monotonic()
    ids = [client.register(subject, record("Row", n)) for n in range(1, 101)]
    assert time.monotonic() - began < 60
    assert len(set(ids)) == 100
    registry = SchemaRegistry(registry_url)
    assert list(registry.versions(subject).values()) == ids
    text = registry.schema(ids[41])
    assert text is not None
    assert len(orjson.loads(text)["fields"]) == 42
    assert registry.schema(2**30) is None


def test_versions_that_no_record_needs_are_removed_and_all_others_stay(
    lake: tuple[SqlLake, Database], client: Writer
) -> None:
    held, db = lake
    orders = captured(db, "orders")
    subject = f"{held.source.topic(orders)}-value"
    held.drain(orders)
    unused = {client.register(subject, record("Unused", n)) for n in range(1, 4)}
    db.run("ALTER TABLE orders ADD COLUMN w int", "INSERT INTO orders VALUES (2, 2, 2)")
    assert held.prove(orders).verdict is Verdict.PASS
    before = SchemaRegistry(held.settings.registry_url).versions(subject)
    old = old_versions(held.settings, held.source)
    assert {each.schema_id for each in old} == unused
    prune(held.settings, old)
    after = SchemaRegistry(held.settings.registry_url).versions(subject)
    assert set(after.values()) == set(before.values()) - unused
    assert old_versions(held.settings, held.source) == []


def test_a_schema_that_the_registry_refuses_stops_the_connector_which_says_so_by_name(
    lake: tuple[SqlLake, Database], client: Writer, connect: ConnectClient
) -> None:
    held, db = lake
    subject = f"{held.source.topic(captured(db, 'orders'))}-value"
    client.require(subject, "BACKWARD")
    db.run("ALTER TABLE orders ALTER COLUMN v TYPE varchar(9)", "INSERT INTO orders VALUES (3, 'x')")
    status = []

    def failed() -> bool:
        status[:] = [connect.status(held.source.connector)]
        return status[0].failed

    eventually(failed)
    with pytest.raises(Exception, match="registry") as refused:
        status[0].require_not_failed(where="Connect")
    assert subject in str(refused.value)


def test_a_registry_that_is_down_is_one_clear_message() -> None:
    with pytest.raises(Transient, match="the schema registry does not answer"):
        SchemaRegistry("http://127.0.0.1:9", timeout=1).schema(1)
