"""The stack against real processes: what it promises about data, ports and processes left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from pymongo import MongoClient
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_platform.core.errors import Terminal
from cdc_platform.local import sweep
from cdc_platform.local.ports import PortClaim, choose
from cdc_platform.local.process import load_records
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Endpoints, ServiceState, Stack

pytestmark = pytest.mark.stack

LISTENERS = ("mongodb", "postgresql", "mariadb", "registry", "kafka", "kafka_controller", "connect")
ANY_PORT = dict.fromkeys((f"{listener}_port" for listener in LISTENERS), 0)

OWNER = """
import sys, threading
from pathlib import Path
from cdc_platform.local.guard import end_with_parent
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
if "--with-parent" in sys.argv:
    end_with_parent()
listeners = ("mongodb", "postgresql", "mariadb", "kafka", "kafka_controller", "connect")
settings = StackSettings(**{f"{name}_port": 0 for name in listeners})
with Stack.attached(Path(sys.argv[1]), settings) as stack:
    stack.up(services=("mongodb", "postgresql", "mariadb"))
    # a program that starts a further one, as Dagster's daemon does with runs
    waits = "import threading; threading.Event().wait()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waits!r}])"
    stack.run("extra", [sys.executable, "-c", child])
    print("up", flush=True)
    threading.Event().wait()
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    Retrying(
        stop=stop_after_delay(timeout_s), wait=wait_fixed(0.1), retry=retry_if_result(lambda met: not met)
    )(condition)


def admin(endpoints: Endpoints) -> AdminClient:
    return AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap, "log_level": 0})


def write(uri: str, *statements: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def register(registry_url: str) -> int:
    """The id of a new schema."""
    schema = '{"type":"record","name":"Order","fields":[{"name":"id","type":"int"}]}'
    address = f"{registry_url}/subjects/orders-value/versions"
    answer = httpx.post(address, json={"schema": schema}, trust_env=False).raise_for_status()
    return int(answer.json()["id"])


@pytest.fixture(scope="module")
def settings() -> StackSettings:
    return StackSettings(**ANY_PORT)  # type: ignore[arg-type]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program with an attached stack in tmp_path, up."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "up\n"
        yield process
    process.kill()
    process.wait()


def test_data_and_ports_stay_across_down_and_up(tmp_path: Path, settings: StackSettings) -> None:
    with Stack.attached(tmp_path, settings) as stack:
        first = stack.up()
        with MongoClient(first.mongodb_uri) as client:
            client.shop.orders.insert_one({"_id": 1, "total": 7})
        client_of_first = admin(first)  # held: the answer comes through it
        client_of_first.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
        assert {status.state for status in stack.status()} == {ServiceState.UP}

        # what is asked for later joins what runs
        before = {status.name: status.pid for status in stack.status()}
        joined = stack.up(services=("postgresql", "registry"))
        after = {status.name: status.pid for status in stack.status()}
        assert {**after, **before} == after
        assert set(after) == {"mongodb", "postgresql", "registry", "kafka", "connect"}
        assert joined.mongodb_uri == first.mongodb_uri
        write(
            joined.postgresql_uri, "create table orders (id int primary key)", "insert into orders values (1)"
        )
        schema = register(joined.registry_url)

        stack.down()
        assert {status.state for status in stack.status()} == {ServiceState.DOWN}

        second = stack.up(services=("mongodb", "postgresql", "registry"))
        assert second == joined
        with MongoClient(second.mongodb_uri) as client:
            assert client.shop.orders.find_one({"_id": 1}) == {"_id": 1, "total": 7}
        assert "kept" in admin(second).list_topics(timeout=10).topics
        with psycopg.connect(second.postgresql_uri) as connection:
            assert connection.execute("select id from orders").fetchall() == [(1,)]
        httpx.get(f"{second.registry_url}/schemas/ids/{schema}", trust_env=False).raise_for_status()


def test_up_keeps_what_runs_and_starts_what_died(tmp_path: Path, settings: StackSettings) -> None:
    with Stack.attached(tmp_path, settings) as stack:
        endpoints = stack.up()
        before = {status.name: status.pid for status in stack.status()}
        worker = psutil.Process(before["connect"])
        worker.kill()
        wait_until(lambda: not sweep.alive(worker))

        failed = next(status for status in stack.status() if status.name == "connect")
        assert failed.state is ServiceState.FAILED
        assert failed.detail  # the last lines of its log

        assert stack.up() == endpoints
        after = {status.name: status.pid for status in stack.status()}
        assert after["mongodb"] == before["mongodb"]
        assert after["kafka"] == before["kafka"]
        assert after["connect"] != before["connect"]


def test_a_replica_set_follows_its_node_to_another_port(tmp_path: Path, settings: StackSettings) -> None:
    claim = PortClaim("mongodb", "CDC_MONGODB_PORT", 0)
    port = choose(claim, previous=None, taken=(), chance=random.Random())
    with Stack.attached(tmp_path, settings) as stack, MongoClient(stack.up().mongodb_uri) as client:
        client.shop.orders.insert_one({"_id": 1})
    with Stack.attached(tmp_path, settings.model_copy(update={"mongodb_port": port})) as stack:
        endpoints = stack.up()
        assert f":{port}/" in endpoints.mongodb_uri
        with MongoClient(endpoints.mongodb_uri) as client:
            assert client.shop.orders.count_documents({}) == 1


def test_connect_offers_debezium_and_an_ephemeral_stack_leaves_no_data(
    tmp_path: Path, settings: StackSettings
) -> None:
    with Stack.attached(tmp_path, settings, ephemeral=True) as stack:
        url = stack.up().connect_url
        plugins = {
            plugin["class"] for plugin in httpx.get(f"{url}/connector-plugins").raise_for_status().json()
        }
        assert "io.debezium.connector.mongodb.MongoDbConnector" in plugins
    assert not (tmp_path / "data").exists()


def test_a_killed_owner_leaves_no_process(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    stack_id = Stack(tmp_path).stack_id
    wait_until(lambda: len(sweep.members(stack_id)) > 10)  # `extra` has a child, and PostgreSQL has many
    processes = sweep.members(stack_id)
    recorded = load_records(tmp_path / "run")
    assert set(recorded) == {"mongodb", "postgresql", "mariadb", "kafka", "connect", "extra"}

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    wait_until(lambda: not any(map(sweep.alive, processes)))
    assert sweep.members(stack_id) == []
    wait_until(lambda: not (tmp_path / "run").exists())


def test_the_next_owner_waits_for_the_guard_of_a_killed_one(
    tmp_path: Path, owner: subprocess.Popen[str], settings: StackSettings
) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with Stack.attached(tmp_path, settings) as stack:
        stack.up()
        assert {status.state for status in stack.status()} == {ServiceState.UP}


def test_a_second_owner_is_told_of_the_first(
    tmp_path: Path, owner: subprocess.Popen[str], settings: StackSettings
) -> None:
    with (
        pytest.raises(Terminal, match=rf"another program is attached.*pid {owner.pid}"),
        Stack.attached(tmp_path, settings),
    ):
        pass


def test_a_terminated_owner_ends_in_order(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    processes = sweep.members(Stack(tmp_path).stack_id)
    owner.terminate()
    assert owner.wait(timeout=90) == 128 + signal.SIGTERM
    assert not any(map(sweep.alive, processes))
    assert "Kafka Connect stopped" in (tmp_path / "logs" / "connect.log").read_text()


def test_an_owner_ends_with_its_parent(tmp_path: Path) -> None:
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {OWNER!r}, *sys.argv[1:]])"
    parent = subprocess.Popen(
        [sys.executable, "-c", launcher, str(tmp_path), "--with-parent"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == "up\n"
    processes = [*psutil.Process(parent.pid).children(), *sweep.members(Stack(tmp_path).stack_id)]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(map(sweep.alive, processes)))


def test_a_detached_stack_outlives_its_command_and_refuses_an_owner(
    tmp_path: Path, settings: StackSettings
) -> None:
    command = (
        "import sys; from pathlib import Path; from cdc_platform.local.stack import Stack\n"
        "from cdc_platform.local.settings import StackSettings\n"
        f"Stack(Path(sys.argv[1]), StackSettings(**{ANY_PORT!r})).up()"
    )
    stack = Stack(tmp_path, settings)
    try:
        subprocess.run([sys.executable, "-c", command, str(tmp_path)], check=True)
        assert {status.state for status in stack.status()} == {ServiceState.UP}
        with pytest.raises(Terminal, match="already up"), Stack.attached(tmp_path, settings):
            pass
        assert {status.state for status in stack.status()} == {ServiceState.UP}
    finally:
        stack.down()
    assert sweep.members(stack.stack_id) == []
    stack.reset()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.lock", "stack.lock"]


def test_a_taken_port_is_named_with_its_holder_and_setting(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        settings = StackSettings(**{**ANY_PORT, "kafka_port": port})  # type: ignore[arg-type]
        with Stack.attached(tmp_path, settings) as stack, pytest.raises(Terminal) as raised:
            stack.up()
    assert f"port {port}, wanted by kafka, is taken by" in str(raised.value)
    assert f"(pid {os.getpid()})" in str(raised.value)
    assert "CDC_KAFKA_PORT" in str(raised.value)


def test_a_component_that_dies_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    settings = StackSettings(**ANY_PORT)  # type: ignore[arg-type]
    with Stack.attached(tmp_path, settings) as stack:
        stack.up()
        stack.down()
        (tmp_path / "data" / "kafka" / "meta.properties").write_text("version=1\n")
        with pytest.raises(Terminal, match="kafka ended; the last lines of its log") as raised:
            stack.up()
    assert "meta.properties" in str(raised.value)
