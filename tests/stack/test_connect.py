"""Connectors on a real Kafka Connect with the real Debezium, over a real MongoDB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from cdc_platform.connect.client import Applied, ConnectClient
from cdc_platform.connect.config import connector_config
from cdc_platform.connect.deploy import deploy
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.status import Progress, State
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.source import MARKERS, Capture, Source
from cdc_platform.local import libraries, packaged
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.process import NotReadyError
from cdc_platform.local.stack import Stack
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.topics import Record, read

pytestmark = pytest.mark.stack


def events(stack: Stack, source: Source, collection: str, count: int) -> list[Record]:
    return read(stack.endpoints.kafka_bootstrap, source.topic(collection), count)


def images(record: Record) -> tuple[str, str | None, str | None]:
    return record.event["op"], record.event["before"], record.event["after"]


def test_inserts_updates_and_deletes_come_with_the_document_before_and_after(
    stack: Stack, mongo: Mongo, capture: Declare
):
    source = capture("orders")
    orders = mongo[source.database].orders
    orders.insert_one({"_id": 1, "n": 1})
    orders.update_one({"_id": 1}, {"$set": {"n": 2}})
    orders.delete_one({"_id": 1})
    one, two = '{"_id": 1,"n": 1}', '{"_id": 1,"n": 2}'
    seen = [images(record) for record in events(stack, source, "orders", 3)]
    assert seen == [("c", None, one), ("u", one, two), ("d", two, None)]


def test_what_is_there_already_is_read_first(
    stack: Stack, mongo: Mongo, declare: Declare, connect: ConnectClient
):
    source = declare("orders", partitions=1)
    mongo[source.database].orders.insert_one({"_id": 1})
    deploy(source, connect)
    eventually(lambda: connect.progress(source.connector) is Progress.STREAM)
    mongo[source.database].orders.insert_one({"_id": 2})
    assert [r.event["op"] for r in events(stack, source, "orders", 2)] == ["r", "c"]


def test_the_position_of_an_event_is_the_cluster_time_of_its_change(
    stack: Stack, mongo: Mongo, capture: Declare
):
    source = capture("orders")
    with mongo.start_session() as session:
        mongo[source.database].orders.insert_one({"_id": 1}, session=session)
        time = session.operation_time
    (record,) = events(stack, source, "orders", 1)
    assert time is not None
    assert (record.event["source"]["ts_ms"] // 1000, record.event["source"]["ord"]) == (time.time, time.inc)


def test_only_the_collections_declared_are_captured_by_their_exact_names(
    stack: Stack, mongo: Mongo, capture: Declare
):
    source = capture("a.b-c", "orders", partitions=1)
    database = mongo[source.database]
    for name in ("Orders", "orders2", "a.b-c", "orders", MARKERS):
        database[name].insert_one({"_id": 1})
    for name in (*source.collections, MARKERS):
        (record,) = events(stack, source, name, 1)
        assert record.event["source"]["collection"] == name
    with pytest.raises(AssertionError, match="no topic"):
        read(stack.endpoints.kafka_bootstrap, source.topic("Orders"), 1, within=0.5)


def test_a_paused_connector_goes_on_where_it_stopped(
    stack: Stack, mongo: Mongo, capture: Declare, connect: ConnectClient
):
    source = capture("orders", partitions=1)
    orders = mongo[source.database].orders
    orders.insert_one({"_id": 1})
    events(stack, source, "orders", 1)
    assert connect.pause(source.connector).is_all(State.PAUSED)
    orders.insert_one({"_id": 2})
    assert connect.resume(source.connector).is_all(State.RUNNING)
    assert [r.key for r in events(stack, source, "orders", 2)] == [b'{"id":"1"}', b'{"id":"2"}']


def test_a_restarted_connector_goes_on_where_it_stopped(
    stack: Stack, mongo: Mongo, capture: Declare, connect: ConnectClient
):
    source = capture("orders", partitions=1)
    orders = mongo[source.database].orders
    orders.insert_one({"_id": 1})
    events(stack, source, "orders", 1)
    connect.restart(source.connector, only_failed=False)
    orders.insert_one({"_id": 2})
    connect.verify(source.connector)
    assert [r.key for r in events(stack, source, "orders", 2)] == [b'{"id":"1"}', b'{"id":"2"}']


def test_a_deleted_connector_is_gone(capture: Declare, connect: ConnectClient):
    source = capture("orders")
    assert source.connector in connect.list()
    connect.delete(source.connector)
    assert source.connector not in connect.list()
    assert connect.find(source.connector) is None


def test_applying_twice_updates(declare: Declare, connect: ConnectClient):
    source = declare("orders")
    prepare(source)
    assert connect.apply(source.connector, connector_config(source)) is Applied.CREATED
    changed = source.model_copy(update={"capture": Capture(batch_size=100)})
    assert connect.apply(source.connector, connector_config(changed)) is Applied.UPDATED
    assert connect.verify(source.connector).is_all(State.RUNNING)
    assert connect.config(source.connector)["max.batch.size"] == "100"


def test_a_wrong_setting_is_refused_with_connects_message(declare: Declare, connect: ConnectClient):
    source = declare("orders")
    with pytest.raises(Terminal, match=r"poll\.interval\.ms: .*'poll.interval.ms' value is invalid"):
        connect.apply(source.connector, {**connector_config(source), "poll.interval.ms": "soon"})
    assert source.connector not in connect.list()


def test_a_mongodb_that_connect_cannot_reach_is_refused_with_connects_message(
    declare: Declare, connect: ConnectClient
):
    source = declare("orders").model_copy(update={"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"})
    impatient = {**connector_config(source), "mongodb.server.selection.timeout.ms": "500"}
    with pytest.raises(Terminal, match=r"mongodb\.connection\.string: Unable to connect"):
        connect.apply(source.connector, impatient)


def test_a_stream_that_mongodb_refuses_fails_its_task_and_a_deployment_cures_it(
    stack: Stack, mongo: Mongo, capture: Declare, connect: ConnectClient
):
    source = capture("orders", partitions=1)
    mongo[source.database].orders.insert_one({"_id": 1})
    events(stack, source, "orders", 1)
    refused = {"cursor.pipeline": '[{"$nonsense": {}}]', "errors.max.retries": "0"}
    connect.apply(source.connector, {**connector_config(source), **refused})
    eventually(lambda: connect.status(source.connector).failed)
    with pytest.raises(Terminal, match=rf"task 0 of connector {source.connector} has failed"):
        connect.verify(source.connector)
    deploy(source, connect)
    mongo[source.database].orders.insert_one({"_id": 2})
    assert [r.key for r in events(stack, source, "orders", 2)] == [b'{"id":"1"}', b'{"id":"2"}']


def test_a_collection_without_images_gets_them(mongo: Mongo, declare: Declare):
    source = declare("orders")
    mongo[source.database].create_collection("orders")
    prepare(source)
    prepare(source)
    found = {entry["name"]: entry["options"] for entry in mongo[source.database].list_collections()}
    assert {found[name]["changeStreamPreAndPostImages"]["enabled"] for name in source.captured} == {True}


def test_a_source_that_does_without_images_leaves_its_collections_alone(
    stack: Stack, mongo: Mongo, capture: Declare
):
    source = capture("orders", capture={"images": "lookup"})
    (entry,) = mongo[source.database].list_collections(filter={"name": "orders"})
    assert "changeStreamPreAndPostImages" not in entry["options"]
    mongo[source.database].orders.insert_one({"_id": 1})
    mongo[source.database].orders.update_one({"_id": 1}, {"$set": {"n": 1}})
    assert images(events(stack, source, "orders", 2)[1]) == ("u", None, '{"_id": 1,"n": 1}')


def test_a_view_cannot_be_captured(mongo: Mongo, declare: Declare):
    source = declare("orders")
    mongo[source.database].create_collection("orders", viewOn="others", pipeline=[])
    with pytest.raises(Terminal, match=r"orders is a view"):
        prepare(source)


def test_an_unreachable_mongodb_is_named_without_its_password(declare: Declare):
    uri = "mongodb://u:secret@127.0.0.1:1/?replicaSet=rs0"
    with pytest.raises(Transient) as failure:
        prepare(declare("orders").model_copy(update={"uri": uri}), patience=0.2)
    assert "at 127.0.0.1:1" in failure.value.where
    assert "secret" not in str(failure.value)


def test_a_connection_string_without_the_replica_set_is_corrected(stack: Stack, declare: Declare):
    uri = stack.endpoints.mongodb_uri.partition("?")[0]
    with pytest.raises(Terminal) as refusal:
        prepare(declare("orders").model_copy(update={"uri": uri}))
    assert "add replicaSet=rs0" in refusal.value.remedy


@pytest.fixture(scope="module")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a MongoDB with users: ``reader`` may only read, ``root`` may do everything."""
    home = tmp_path_factory.mktemp("guarded")
    mongod = packaged.mongod(stack.settings.cache_dir.expanduser().resolve())
    key = home / "key"
    key.write_text("c2VjcmV0")
    key.chmod(0o600)
    claim = PortClaim("mongodb-guarded", "", _free_port())
    address = f"127.0.0.1:{claim.wanted}"

    def initiated() -> None:
        with MongoClient[dict[str, Any]](
            f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=500
        ) as client:
            try:
                _initiate(client, address)
            except Exception as error:
                raise NotReadyError(str(error)) from error

    argv = (str(mongod), "--dbpath", str(home), "--port", str(claim.wanted), "--bind_ip", "127.0.0.1")
    options = ("--replSet", "rs0", "--keyFile", str(key), "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25")
    env = libraries.environment_for(Path(mongod), os.environ, home / "lib")
    stack.run("mongodb-guarded", (*argv, *options), env=env, port=claim, ready=initiated)
    return address


def _initiate(client: MongoClient[dict[str, Any]], address: str) -> None:
    """Through the exception that MongoDB makes for localhost until the first user exists."""
    hello = client.admin.command("hello")
    if "setName" not in hello:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": address}]})
    client.admin.command("createUser", "root", pwd="p", roles=["root"])


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_user_without_the_right_to_keep_images_learns_what_to_run(guarded: str, declare: Declare):
    root = f"mongodb://root:p@{guarded}/?replicaSet=rs0"
    source = declare("orders")
    with MongoClient[dict[str, Any]](root) as client:
        for name in source.captured:
            client[source.database].create_collection(name)
        client[source.database].command("createUser", "reader", pwd="p", roles=["read"])
    reader = f"mongodb://reader:p@{guarded}/?replicaSet=rs0&authSource={source.database}"
    with pytest.raises(Terminal) as refusal:
        prepare(source.model_copy(update={"uri": reader}))
    assert 'collMod: "orders"' in refusal.value.remedy
    assert "capture.images: lookup" in refusal.value.remedy
    prepare(source.model_copy(update={"uri": reader, "capture": Capture(images="lookup")}))


def test_a_user_without_the_right_to_create_learns_which_roles_to_grant(guarded: str, declare: Declare):
    root = f"mongodb://root:p@{guarded}/?replicaSet=rs0"
    source = declare("orders")
    with MongoClient[dict[str, Any]](root) as client:
        client[source.database].command("createUser", "reader", pwd="p", roles=["read"])
    reader = f"mongodb://reader:p@{guarded}/?replicaSet=rs0&authSource={source.database}"
    with pytest.raises(Terminal, match="not authorized") as refusal:
        prepare(source.model_copy(update={"uri": reader}))
    assert "readWrite and dbAdmin" in refusal.value.remedy


def test_a_wrong_password_is_told_as_such(guarded: str, declare: Declare):
    uri = f"mongodb://root:wrong@{guarded}/?replicaSet=rs0"
    with pytest.raises(Terminal) as refusal:
        prepare(declare("orders").model_copy(update={"uri": uri}))
    assert "password" in refusal.value.remedy
    assert "wrong" not in str(refusal.value)
