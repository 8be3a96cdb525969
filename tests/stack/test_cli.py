"""``cdc`` on the real stack: deploy, drain, look, break, mend."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.status import Progress
from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from tests.cli import calling
from tests.stack.conftest import Declare, Mongo, eventually

pytestmark = pytest.mark.stack


@dataclass(frozen=True, slots=True)
class Shell:
    """``cdc`` with the test's own declared source, lake and state, and the stack of all tests."""

    source: Source
    folder: Path
    env: dict[str, str]

    def cdc(self, *words: str) -> Any:
        return calling.cdc("--sources", str(self.folder), *words, env=self.env)

    def answer(self, *words: str, code: int = 0) -> Any:
        """The JSON document of a command that ends with ``code``."""
        result = self.cdc(*words, "--json")
        assert result.exit_code == code, result.output
        return calling.document(result)


@pytest.fixture
def shell(stack: Stack, declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)  # away from the `.env` of whoever runs the tests
    source = declare("orders", "customers")
    calling.declare(tmp_path / "sources", source.name, uri=source.uri)
    env = {
        "CDC_KAFKA_BOOTSTRAP": stack.endpoints.kafka_bootstrap,
        "CDC_CONNECT_URL": stack.endpoints.connect_url,
        "CDC_LAKE_ROOT": str(tmp_path / "lake"),
        "CDC_STATE_DIR": str(tmp_path / "state"),
    }
    return Shell(source, tmp_path / "sources", env)


def test_the_stack_that_is_up_is_shown_with_exit_code_0(stack: Stack) -> None:
    env = {"CDC_STATE_DIR": str(stack.paths.root)}

    services = calling.document(calling.cdc("stack", "status", "--json", env=env))["services"]

    assert {each["name"] for each in services} >= {"mongodb", "kafka", "connect"}
    assert {each["state"] for each in services} == {"up"}
    assert "kafka" in calling.cdc("stack", "status", env=env).stdout
    assert calling.cdc("stack", "logs", "connect", "--lines", "3", env=env).stdout.count("\n") == 3


def test_a_source_goes_from_declared_to_an_up_to_date_lake(shell: Shell, mongo: Mongo) -> None:
    name, database = shell.source.name, mongo[shell.source.database]
    database.orders.insert_many([{"_id": n, "qty": n} for n in range(20)])
    database.customers.insert_one({"_id": "ann"})
    assert shell.answer("connector", "status", name, code=1)["not_deployed"] == [shell.source.connector]
    for words in (("run", name, "--once"), ("tables",)):
        assert "cdc connector apply" in " ".join(shell.cdc(*words).stderr.split())

    shell.answer("connector", "apply", name)
    listed = {each["name"]: each for each in shell.answer("connector", "list")["connectors"]}
    assert listed[shell.source.connector] == {
        "name": shell.source.connector,
        "source": name,
        "deployed": True,
    }
    assert shell.answer("connector", "status")["connectors"][0]["tasks"][0]["state"] == "RUNNING"
    eventually(lambda: sum(table["lag"] or 0 for table in shell.answer("tables")["tables"]) >= 42)

    run = shell.answer("run", name, "--once")
    done = {(table["table"], table["kind"]): table["applied"] for table in run["tables"]}
    assert run["ended"] == "caught up"
    assert done["orders", "changelog"] == done["orders", "current"] == {"r": 20}
    assert done["customers", "current"] == {"r": 1}

    tables = {(t["name"], t["kind"]): t for t in shell.answer("tables", name, "--schema")["tables"]}
    orders = tables["orders", "current"]
    assert (orders["rows"], orders["lag"], orders["problem"]) == (20, 0, "")
    assert orders["columns"]["qty"] == "Int64"
    without_kafka = {**shell.env, "CDC_KAFKA_BOOTSTRAP": f"127.0.0.1:{calling.unused_port()}"}
    blind = calling.cdc("--sources", str(shell.folder), "tables", "--json", env=without_kafka)
    seen = {(t["name"], t["kind"]): t for t in calling.document(blind)["tables"]}
    assert seen["orders", "current"]["offsets"] == orders["offsets"]
    assert seen["orders", "current"]["lag"] is None

    assert shell.answer("connector", "restart", name)["connectors"][0]["state"] == "RUNNING"
    assert shell.answer("connector", "delete", name, "--yes") == {"deleted": shell.source.connector}


def test_a_connector_is_waited_for_paused_and_resumed_and_loses_nothing(shell: Shell, mongo: Mongo) -> None:
    name, connector, orders = shell.source.name, shell.source.connector, mongo[shell.source.database].orders
    orders.insert_many([{"_id": n} for n in range(2_000)])

    waited = shell.answer("connector", "apply", name, "--wait", "--timeout", "60")
    assert 0 <= waited["streaming_after_seconds"][connector] < 60
    assert {
        t["rows_in"] for t in shell.answer("run", name, "--once")["tables"] if t["table"] == "orders"
    } == {2_000}

    [paused] = shell.answer("connector", "pause", name)["connectors"]
    assert (paused["state"], paused["tasks"][0]["state"]) == ("PAUSED", "PAUSED")
    assert shell.answer("connector", "status", name, code=1)["connectors"] == [paused]
    orders.insert_one({"_id": "while paused"})
    [resumed] = shell.answer("connector", "resume", name)["connectors"]
    assert (resumed["state"], resumed["tasks"][0]["state"]) == ("RUNNING", "RUNNING")
    eventually(lambda: any(t["lag"] for t in shell.answer("tables")["tables"] if t["name"] == "orders"))
    collected = {**shell.env, "CDC_LOG_FORMAT": "json"}
    result = calling.cdc("--sources", str(shell.folder), "run", name, "--once", env=collected)
    told = [orjson.loads(line) for line in result.stderr.splitlines()]
    assert [(told[0]["event"], told[-1]["event"], told[-1]["why"])] == [
        ("run began", "run ended", "caught up")
    ]
    [changes] = [line for line in told if (line.get("table"), line.get("kind")) == ("orders", "changelog")]
    assert (changes["event"], changes["source"], changes["applied"]) == ("commit", name, {"c": 1})


def test_a_table_that_fails_is_named_and_holds_no_other_back(
    shell: Shell, mongo: Mongo, connect: ConnectClient
) -> None:
    name, database = shell.source.name, mongo[shell.source.database]
    calling.declare(shell.folder, name, uri=shell.source.uri, values="refuse")
    shell.answer("connector", "apply", name)
    eventually(lambda: connect.progress(shell.source.connector) is Progress.STREAM)
    database.orders.insert_many([{"_id": 1, "qty": 1}, {"_id": 2, "qty": "many"}])
    database.customers.insert_one({"_id": "ann"})
    eventually(lambda: all(table["lag"] for table in shell.answer("tables")["tables"]))

    run = shell.answer("run", name, "--idle", "3", code=4)

    assert [each["table"] for each in run["failed"]] == ["orders"]
    assert "table orders (delta) changelog stopped: " in run["error"]["what"]
    assert "qty" in run["error"]["what"]
    assert f"topic {shell.source.topic('orders')}" in run["error"]["where"]
    assert run["error"]["remedy"]
    assert {table["table"]: table["rows_in"] for table in run["tables"]}["customers"] == 1
    only = shell.cdc("run", name, "--once", "--table", "customers")
    assert only.exit_code == 0
    assert only.stderr == ""


def test_signals_end_staying_runs_after_their_commits(
    shell: Shell, mongo: Mongo, connect: ConnectClient
) -> None:
    name, orders = shell.source.name, mongo[shell.source.database].orders
    words = ("--sources", str(shell.folder), "run", name, "--json")
    shell.answer("connector", "apply", name)
    eventually(lambda: connect.progress(shell.source.connector) is Progress.STREAM)
    signals = (signal.SIGTERM, signal.SIGINT)
    runs = [calling.process(*words, env=shell.env, cwd=shell.folder) for _ in signals]
    try:
        orders.insert_one({"_id": 1})
        eventually(_commits(shell, "orders"), within=60)
        eventually(_heard_by(runs), within=60)

        for run, number in zip(runs, signals, strict=True):
            run.send_signal(number)
        told = [run.communicate(timeout=30) for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()

    assert [run.returncode for run in runs] == [0, 0], told
    assert [orjson.loads(out)["ended"] for out, _ in told] == [f"interrupted by {s.name}" for s in signals]
    commits = [line for _, err in told for line in err.splitlines() if "orders (delta) changelog v" in line]
    assert sum("1 in, 1 " in line for line in commits) == 1, "one document, committed by one of the two"
    assert not any("Traceback" in err for _, err in told)


def _heard_by(runs: list[subprocess.Popen[str]]) -> Callable[[], bool]:
    """Whether each process has a handler of its own for SIGTERM: before that, it is not draining yet."""
    mask = 1 << (signal.SIGTERM - 1)

    def caught(run: subprocess.Popen[str]) -> bool:
        status = Path(f"/proc/{run.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & mask)

    return lambda: all(map(caught, runs))


def _commits(shell: Shell, table: str) -> Callable[[], bool]:
    def committed() -> bool:
        tables = shell.answer("tables")["tables"]
        return any(t["rows"] for t in tables if (t["name"], t["kind"]) == (table, "changelog"))

    return committed
