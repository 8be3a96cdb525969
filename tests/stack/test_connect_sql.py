"""Connectors of PostgreSQL and MariaDB on a real Kafka Connect, over real databases."""

from __future__ import annotations

import io
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fastavro
import httpx
import orjson
import pytest
from confluent_kafka.admin import AdminClient

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.collections import identities
from cdc_platform.connect.config import Services, connector_config
from cdc_platform.connect.deploy import delete, deploy, snapshot
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.signals import read_again
from cdc_platform.connect.status import Progress, State
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.position import Engine
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source, Wire
from cdc_platform.discover import discover
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from tests.stack.conftest import eventually
from tests.stack.databases import Database, database
from tests.stack.topics import Record, read

pytestmark = pytest.mark.stack

ENGINES = (Engine.POSTGRESQL, Engine.MARIADB)
FIRST = [Engine.POSTGRESQL, pytest.param(Engine.MARIADB, marks=pytest.mark.matrix)]


@dataclass
class Shop:
    """A database of the test's own, and what is captured of it."""

    stack: Stack
    connect: ConnectClient
    there: Database
    registry_url: str
    deployed: list[Source] = field(default_factory=list)

    def declare(self, *tables: str, user: str = "", **more: Any) -> Source:
        """``user``: ``name:password``, of another than the owner of everything."""
        postgresql = self.there.engine is Engine.POSTGRESQL
        scheme, _, rest = self.there.uri.partition("://")
        own, _, server = rest.rpartition("@")
        given = {
            "name": self.there.space,
            "engine": self.there.engine,
            "uri": f"{scheme}://{user or own}@{server.partition('/')[0]}",
            "database": "shop" if postgresql else self.there.space,
            "tables": [f"{self.there.space}.{table}" if postgresql else table for table in tables],
            "keys": {self.known(table): key for table, key in more.pop("keys", {}).items()},
            "partitions": 1,
        }
        return Source.model_validate(given | more)

    def known(self, table: str) -> str:
        return f"{self.there.space}.{table}" if self.there.engine is Engine.POSTGRESQL else table

    def deploy(self, source: Source) -> Source:
        """Returns when the source streams."""
        self.deployed.append(source)
        deploy(source, self.connect, services=self.services)
        eventually(lambda: self.connect.progress(source.connector) is Progress.STREAM)
        return source

    @property
    def services(self) -> Services:
        return Services(self.stack.endpoints.kafka_bootstrap, self.registry_url)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "kafka_bootstrap": self.stack.endpoints.kafka_bootstrap,
            "connect_url": self.stack.endpoints.connect_url,
        }

    def quoted(self, table: str) -> str:
        return f'"{table}"' if self.there.engine is Engine.POSTGRESQL else f"`{table}`"

    def create(self, *tables: str, columns: str = "id int primary key, v varchar(40)") -> None:
        self.there.run(*(f"create table {self.quoted(table)} ({columns})" for table in tables))

    def events(self, source: Source, table: str, count: int) -> list[dict[str, Any]]:
        records = read(self.stack.endpoints.kafka_bootstrap, source.topic(table), count, within=60)
        return [self._event(source, record) for record in records]

    def _event(self, source: Source, record: Record) -> dict[str, Any]:
        if source.written_as is not Wire.AVRO:
            return dict(orjson.loads(record.value)["payload"])
        assert record.value[0] == 0
        number = int.from_bytes(record.value[1:5])
        answer = httpx.get(f"{self.registry_url}/schemas/ids/{number}", trust_env=False).raise_for_status()
        schema = fastavro.parse_schema(orjson.loads(answer.json()["schema"]))
        return dict(fastavro.schemaless_reader(io.BytesIO(record.value[5:]), schema, None))  # type: ignore[arg-type]

    def slots(self) -> list[str]:
        query = f"select slot_name from pg_replication_slots where slot_name like '%{self.there.space}%'"
        with self.there.session() as session:
            return [str(name) for (name,) in session.run(query)]


@pytest.fixture
def shop_in(
    stack: Stack, connect: ConnectClient, postgresql_uri: str, mariadb_uri: str, registry_url: str
) -> Iterator[Callable[[Engine], Shop]]:
    """Makes databases. After the test they are gone, with their connectors, slots and topics."""
    uris = {Engine.POSTGRESQL: postgresql_uri, Engine.MARIADB: mariadb_uri}
    made: list[tuple[Shop, Any]] = []

    def make(engine: Engine) -> Shop:
        opened = database(engine, uris[engine])
        shop = Shop(stack, connect, opened.__enter__(), registry_url)
        made.append((shop, opened))
        return shop

    yield make
    for shop, opened in made:
        for source in shop.deployed[-1:]:
            if connect.find(source.connector) is not None:
                delete(source, connect)
        opened.__exit__(None, None, None)
        admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
        topics = [t for t in admin.list_topics(timeout=10).topics if shop.there.space in t.split(".")]
        for outcome in admin.delete_topics(topics).values() if topics else ():
            outcome.result(timeout=10)


def said(event: dict[str, Any]) -> tuple[str, Any, Any]:
    """Operation, and the row before and after it without its name of two words."""
    return event["op"], *((row and tuple(row.values())) for row in (event["before"], event["after"]))


WIRES = [
    (Engine.POSTGRESQL, Wire.AVRO),
    (Engine.MARIADB, Wire.JSON_WITH_SCHEMA),
    pytest.param(Engine.POSTGRESQL, Wire.JSON_WITH_SCHEMA, marks=pytest.mark.matrix),
    pytest.param(Engine.MARIADB, Wire.AVRO, marks=pytest.mark.matrix),
]


@pytest.mark.parametrize(("engine", "wire"), WIRES)
def test_every_kind_of_change_arrives_with_the_rows_before_and_after_it(
    engine: Engine, wire: Wire, shop_in: Callable[[Engine], Shop]
) -> None:
    shop = shop_in(engine)
    shop.create("Order Items", columns="id int primary key, v varchar(40), more text")
    name, large = shop.quoted("Order Items"), "x" * 10_000  # large enough to be stored apart, by PostgreSQL
    shop.there.run(f"insert into {name} values (1, 'there', '{large}')")
    source = shop.deploy(shop.declare("Order Items", wire=wire))
    shop.there.run(
        f"insert into {name} values (2, 'new', null)",
        f"update {name} set v = 'changed' where id = 1",
        f"update {name} set id = 3 where id = 1",
        f"delete from {name} where id = 3",
        f"truncate table {name}",
    )
    one, two, three = (1, "there", large), (1, "changed", large), (3, "changed", large)
    assert [said(event) for event in shop.events(source, source.collections[0], 7)] == [
        ("r", None, one),
        ("c", None, (2, "new", None)),
        ("u", one, two),
        ("d", two, None),
        ("c", None, three),
        ("d", three, None),
        ("t", None, None),
    ]


@pytest.mark.parametrize("engine", FIRST)
def test_a_deployment_can_be_repeated_and_reads_what_is_declared_later(
    engine: Engine, shop_in: Callable[[Engine], Shop], connect: ConnectClient
) -> None:
    shop = shop_in(engine)
    shop.create("orders", "Old-items", "odd items")
    shop.create("visits", "log", columns="day int, page varchar(40)")
    shop.there.run("insert into orders values (1, 'a')", "insert into visits values (1, 'p')")
    shop.there.run(f"insert into {shop.quoted('Old-items')} values (7, 'before')")
    keys = {"visits": ["day"], "log": []}
    source = shop.deploy(shop.declare("orders", "visits", "log", keys=keys, wire="json_with_schema"))
    config = connect.config(source.connector)
    shop.deploy(source)
    assert connect.config(source.connector) == config
    named = ("orders", "visits", "log", "Old-items")
    more = shop.deploy(shop.declare(*named, keys=keys, wire="json_with_schema"))
    with pytest.raises(Terminal, match="captured from now on") as refusal:
        shop.deploy(shop.declare(*named, "odd items", keys=keys, wire="json_with_schema"))
    assert f"cdc connector snapshot {more.name}" in refusal.value.remedy
    shop.there.run("insert into orders values (2, 'b')", "insert into log values (1, 'q')")
    found = shop.events(more, more.collections[3], 1)
    assert [said(event) for event in found] == [("r", None, (7, "before"))]
    assert [event["op"] for event in shop.events(more, more.collections[0], 2)] == ["r", "c"]
    bootstrap = shop.stack.endpoints.kafka_bootstrap
    [visit] = read(bootstrap, more.topic(more.collections[1]), 1)
    assert orjson.loads(visit.key)["payload"] == {"day": 1}
    [line] = read(bootstrap, more.topic(more.collections[2]), 1)
    assert line.key == b""

    read_again(more, more.collections[:1], uuid.uuid4().hex)
    again = shop.events(more, more.collections[0], 4)[2:]
    assert [(event["op"], event["source"]["snapshot"]) for event in again] == [("r", "incremental")] * 2
    snapshot(more, connect)
    assert [event["op"] for event in shop.events(more, more.collections[0], 6)[4:]] == ["r", "r"]


@pytest.mark.parametrize("engine", FIRST)
def test_a_table_that_a_glob_takes_is_captured_with_what_it_had_before_it_was_found(
    engine: Engine, shop_in: Callable[[Engine], Shop], tmp_path: Any
) -> None:
    shop = shop_in(engine)
    shop.create("orders")
    source = shop.deploy(shop.declare("orders", "audit_*", wire="json_with_schema"))
    settings = Settings(state_dir=tmp_path, **shop.settings)  # type: ignore[arg-type]
    shop.create("audit_1")
    shop.there.run("insert into audit_1 values (1, 'before')")
    log = KafkaLog(settings.kafka_bootstrap)
    found = discover(settings, source, log)
    assert (found.fresh, dict(found.refused)) == ((shop.known("audit_1"),), {})
    assert discover(settings, source, log).fresh == ()
    shop.there.run("insert into audit_1 values (2, 'after')")
    keys = {said(event)[2][0] for event in shop.events(found.source, shop.known("audit_1"), 2)}
    assert keys == {1, 2}
    if engine is Engine.POSTGRESQL:
        before = identities(found.source)
        shop.there.run("truncate audit_1", "alter table audit_1 add more int")
        assert identities(found.source) == before
        shop.there.run("drop table audit_1", "create table audit_1 (id int primary key)")
        assert identities(found.source)[shop.known("audit_1")] != before[shop.known("audit_1")]
    shop.there.run("drop table audit_1")
    assert shop.known("audit_1") not in identities(found.source)


def test_a_partitioned_table_is_captured_under_its_own_name(shop_in: Callable[[Engine], Shop]) -> None:
    shop = shop_in(Engine.POSTGRESQL)
    shop.create("sold", columns="id int, day int, primary key (id, day)) partition by range (day")
    for number in (1, 2):
        bounds = f"from ({number * 10}) to ({number * 10 + 10})"
        shop.there.run(f"create table sold_{number} partition of sold for values {bounds}")
    shop.there.run("insert into sold values (1, 10)")
    source = shop.deploy(shop.declare("sold"))
    shop.there.run("update sold set day = 11", "update sold set day = 20", "truncate sold_1")
    moved = [said(event) for event in shop.events(source, source.collections[0], 5)]
    assert moved[:1] == [("r", None, (1, 10))]
    assert [event[0] for event in moved[1:]] == ["d", "c", "d", "c"]
    assert moved[4] == ("c", None, (1, 20))


def test_connect_is_killed_and_nothing_is_lost_or_repeated(
    shop_in: Callable[[Engine], Shop], stack: Stack, connect: ConnectClient
) -> None:
    shops = [shop_in(engine) for engine in ENGINES]
    sources = []
    for shop in shops:
        shop.create("orders")
        sources.append(shop.deploy(shop.declare("orders", wire="json_with_schema")))
    for start in (0, 100, 200):
        for shop in shops:
            shop.there.run(*(f"insert into orders values ({n}, 'x')" for n in range(start, start + 100)))
        if start == 100:
            [worker] = [each for each in stack.status() if each.name == "connect"]
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
    stack.up()
    for shop, source in zip(shops, sources, strict=True):
        found = [said(event)[2][0] for event in shop.events(source, source.collections[0], 300)]
        assert found == list(range(300))
        eventually(lambda name=source.connector: connect.status(name).is_all(State.RUNNING))  # type: ignore[misc]


def test_a_deleted_connector_leaves_no_slot_behind_and_begins_anew_if_it_comes_back(
    shop_in: Callable[[Engine], Shop], connect: ConnectClient
) -> None:
    shop = shop_in(Engine.POSTGRESQL)
    shop.create("orders")
    source = shop.deploy(shop.declare("orders", wire="json_with_schema"))
    assert shop.slots() == [source.slot]
    delete(source, connect)
    assert shop.slots() == []
    with shop.there.session() as session:
        assert session.run(f"select from pg_publication where pubname = '{source.slot}'") == []
    shop.there.run("insert into orders values (1, 'unseen')")
    shop.deploy(source)
    assert [event["op"] for event in shop.events(source, source.collections[0], 1)] == ["r"]


def test_a_publication_that_was_dropped_is_told_and_a_snapshot_makes_it_again(
    shop_in: Callable[[Engine], Shop], connect: ConnectClient
) -> None:
    shop = shop_in(Engine.POSTGRESQL)
    shop.create("orders")
    source = shop.deploy(shop.declare("orders", wire="json_with_schema"))
    shop.there.run(f"drop publication {source.slot}", "insert into orders values (1, 'unseen')")
    for look in (prepare, identities):
        with pytest.raises(Terminal, match="dropped while its connector read it") as refusal:
            look(source)
        assert f"cdc connector snapshot {source.name}" in refusal.value.remedy
    snapshot(source, connect)
    assert [said(event) for event in shop.events(source, source.collections[0], 1)] == [
        ("r", None, (1, "unseen"))
    ]


def test_a_user_of_postgresql_learns_what_to_run_step_by_step(shop_in: Callable[[Engine], Shop]) -> None:
    shop = shop_in(Engine.POSTGRESQL)
    space, user = shop.there.space, f"u{shop.there.space}"
    shop.create("orders")
    shop.create("log", columns="line text")
    shop.there.run(f"create role {user} login password 'p'", f"grant usage on schema {space} to {user}")
    try:
        _learn(shop, shop.declare("orders", "log", user=f"{user}:p"), user)
    finally:
        shop.there.run(f"drop owned by {user}", f"drop role {user}")


def _learn(shop: Shop, source: Source, user: str) -> None:
    space = shop.there.space

    def refused(declared: Source = source) -> Terminal:
        with pytest.raises(Terminal) as refusal:
            prepare(declared)
        assert ":p@" not in str(refusal.value)
        return refusal.value

    assert f'ALTER ROLE "{user}" WITH REPLICATION' in refused().remedy
    shop.there.run(f"alter role {user} with replication")
    assert f'CREATE TABLE "{space}"."cdc_markers"' in refused().remedy
    shop.there.run(f"grant create on schema {space} to {user}")
    assert f"{space}.orders, {space}.log" in refused().what
    shop.there.run(f"grant select on all tables in schema {space} to {user}")
    assert "no primary key" in refused().what
    declared = source.model_copy(update={"keys": {f"{space}.log": ()}})
    refusal = refused(declared)
    assert f'ALTER TABLE "{space}"."log" REPLICA IDENTITY FULL;' in refusal.remedy
    shop.there.run(f"alter table {space}.log replica identity full")
    refusal = refused(declared)
    assert f'ALTER TABLE "{space}"."orders" REPLICA IDENTITY FULL;' in refusal.remedy
    assert "replica_identity: keep" in refusal.remedy
    kept = declared.model_copy(
        update={"capture": source.capture.model_copy(update={"replica_identity": "keep"})}
    )
    assert f'CREATE PUBLICATION "{source.slot}" FOR TABLE "{space}"."orders"' in refused(kept).remedy
    shop.there.run(f"alter table {space}.orders replica identity full")
    shop.there.run(refused(declared).remedy.partition(": ")[2])
    prepare(declared)


def test_a_server_that_does_not_answer_or_knows_no_such_database_is_named_without_its_password(
    shop_in: Callable[[Engine], Shop],
) -> None:
    for engine in ENGINES:
        shop = shop_in(engine)
        source = shop.declare("orders")
        nowhere = source.model_copy(update={"uri": f"{engine}://u:secret@127.0.0.1:1"})
        with pytest.raises(Transient, match="does not answer") as failure:
            prepare(nowhere, patience=2)
        assert "secret" not in str(failure.value)
        assert "at 127.0.0.1:1" in failure.value.where
        with pytest.raises(Terminal) as refusal:
            prepare(source.model_copy(update={"database": "nowhere"}))
        assert "`database`" in refusal.value.remedy


def test_a_user_of_mariadb_learns_what_to_grant_and_what_to_set(shop_in: Callable[[Engine], Shop]) -> None:
    shop = shop_in(Engine.MARIADB)
    space, user = shop.there.space, f"u{shop.there.space}"
    shop.create("orders")
    shop.there.run("create view seen as select * from orders")
    accounts = f"'{user}'@'%', '{user}'@'localhost'"
    shop.there.run(*(f"create user {each} identified by 'p'" for each in accounts.split(", ")))
    source = shop.declare("orders", user=f"{user}:p")

    def refused(declared: Source = source) -> Terminal:
        with pytest.raises(Terminal) as refusal:
            prepare(declared)
        return refusal.value

    try:
        assert "grant the user" in refused().remedy
        shop.there.run(f"grant select on {space}.* to {accounts}")
        assert "GRANT RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO" in refused().remedy
        shop.there.run(f"grant reload, replication slave, replication client on *.* to {accounts}")
        assert f"CREATE TABLE IF NOT EXISTS `{space}`.`cdc_markers`" in refused().remedy
        prepare(shop.declare("orders"))
        assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{space}`.`cdc_markers`" in refused().remedy
        shop.there.run(f"grant insert, update, delete on {space}.* to {accounts}")
        prepare(source)
        assert "seen is a view" in refused(shop.declare("seen", user=f"{user}:p")).what
        assert "no table" in refused(shop.declare("Orders", user=f"{user}:p")).what
        wrong = shop.declare("orders", user=f"{user}:wrong")
        assert "password" in refused(wrong).remedy
        mysql = source.model_copy(
            update={"engine": Engine.MYSQL, "uri": source.uri.replace("mariadb", "mysql")}
        )
        assert "declare engine: mariadb" in refused(mysql).remedy
        shop.there.run("set global binlog_row_image = 'MINIMAL'")
        refusal = refused()
        assert "binlog_row_image is 'MINIMAL'" in refusal.what
        assert "SET GLOBAL binlog_row_image = FULL;" in refusal.remedy
    finally:
        shop.there.run("set global binlog_row_image = 'FULL'", f"drop user {accounts}")


@pytest.mark.parametrize("engine", [Engine.MARIADB, Engine.MYSQL])
def test_the_plugins_accept_the_settings_although_mysql_itself_is_not_run(
    engine: Engine, shop_in: Callable[[Engine], Shop], connect: ConnectClient
) -> None:
    """Debezium's connector for MySQL connects to MariaDB here: it validates, and no more is shown by that."""
    shop = shop_in(Engine.MARIADB)
    source = shop.declare("orders")
    uri = source.uri.replace("mariadb", engine)
    config = connector_config(source.model_copy(update={"engine": engine, "uri": uri}), shop.services)
    url = f"{connect.url}/connector-plugins/{config['connector.class']}/config/validate"
    answer = httpx.put(url, json={**config, "name": source.connector}, timeout=60, trust_env=False)
    wrong = {
        each["value"]["name"]: each["value"]["errors"]
        for each in answer.raise_for_status().json()["configs"]
        if each["value"]["errors"]
    }
    assert wrong == {}
