"""Dagster as people drive it: `dagster asset materialize`, its checks, its exit codes; the demo from end to
end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster import AssetKey, DagsterInstance

from cdc_platform.core.model import Policy
from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from cdc_platform.replicate.hold import Holds
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]

TABLES = (
    *("shop/orders", "shop/customers", "shop/products"),
    *("billing/invoices", "billing/invoice_lines"),
    *("stock/items", "stock/movements"),
)
"""Of the demo."""


@pytest.fixture
def lake(stack: Stack, declare: Declare, tmp_path: Path) -> Lake:
    lake = Lake(stack, declare("orders", "customers"), tmp_path)
    lake.deploy()
    return lake


@pytest.fixture
def database(lake: Lake, mongo: Mongo) -> Any:
    return mongo[lake.source.database]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(lake: Lake) -> dict[str, str]:
    home = lake.settings.state_dir / "dagster"
    home.mkdir(exist_ok=True)
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CDC_TEST_SOURCE": lake.source.model_dump_json(),
        **{f"CDC_{name.upper()}": str(value) for name, value in lake.settings.model_dump().items()},
    }


def materialize(lake: Lake, selection: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "dagster",
            "asset",
            "materialize",
            "-f",
            "tests/project.py",
            "--select",
            selection,
        ],
        cwd=ROOT,
        env=environment(lake),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def keys(source: Source, *names: str) -> str:
    return " or ".join(f'key:"delta/{source.name}/{name}"' for name in names)


def test_one_materialization_fills_all_tables_records_them_and_proves_them(lake: Lake, database: Any) -> None:
    database.orders.insert_many([{"_id": n, "lines": [{"sku": "a", "n": n}]} for n in range(50)])
    database.customers.insert_many([{"_id": f"c{n}", "name": "Zoë"} for n in range(20)])
    done = materialize(lake, f"group:{lake.source.name}")
    assert done.returncode == 0, done.stderr
    assert "orders (delta): the lake equals the source" in done.stdout + done.stderr
    instance = DagsterInstance.from_config(str(lake.settings.state_dir / "dagster"))
    with instance:
        metadata = recorded(instance, lake.source, "orders")
        assert metadata["dagster/row_count"].value == 50
        assert metadata["cdc/rows_in"].value == 50
        assert sum(metadata["cdc/offsets"].value.values()) >= 50
        assert metadata["dagster/uri"].value.endswith(f"delta/{lake.source.name}/orders")
        columns = {c.name: c.type for c in metadata["dagster/column_schema"].value.columns}
        assert columns["lines"] == "list<struct<sku: string, n: int64>>"
        assert columns["_cdc_timestamp"] == "timestamp"
        assert recorded(instance, lake.source, "customers_changes")["dagster/row_count"].value == 20
        for table in ("orders", "customers"):
            for check in ("row_counts", "content"):
                key = dg.AssetCheckKey(AssetKey(["delta", lake.source.name, table]), check)
                (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
                assert record.evaluation is not None
                assert record.evaluation.passed, record.evaluation.description


def test_a_changelog_alone_can_be_materialized_and_its_current_state_follows_later(
    lake: Lake, database: Any
) -> None:
    database.orders.insert_many([{"_id": n} for n in range(7)])
    eventually(lambda: lake.waiting("orders") >= 7)
    assert materialize(lake, keys(lake.source, "orders_changes")).returncode == 0
    assert lake.changes("orders").height == 7
    assert not lake.exists("orders")
    assert materialize(lake, keys(lake.source, "orders")).returncode == 0
    assert lake.current("orders").height == 7


def test_a_table_that_cannot_go_on_fails_the_run_by_name_and_the_others_are_filled(
    lake: Lake, database: Any
) -> None:
    database.orders.insert_many([{"_id": 1, "quantity": 1}, {"_id": 2, "quantity": "two"}])
    database.customers.insert_one({"_id": 1})
    eventually(lambda: lake.waiting("orders") >= 2 and lake.waiting("customers") >= 1)
    strict = lake.declared(values=Policy.REFUSE)
    done = materialize(
        strict, keys(lake.source, "orders_changes", "orders", "customers_changes", "customers")
    )
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert f"topic {lake.source.topic('orders')}" in output
    assert "quantity" in output
    assert "what to do:" in output
    assert lake.current("customers").height == 1


def recorded(instance: DagsterInstance, source: Source, name: str) -> Any:
    event = instance.get_latest_materialization_event(AssetKey(["delta", source.name, name]))
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    return materialization.metadata


def demo(folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cdc_platform.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "CDC_STATE_DIR": str(folder / "state"), "PYTHONUNBUFFERED": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that were started for the demo in this folder and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CDC_STATE_DIR", "").startswith(str(folder)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.parametrize(
    "sources",
    [
        ("shop",),
        pytest.param(("shop", "billing", "stock"), marks=[pytest.mark.matrix, pytest.mark.timeout(600)]),
    ],
    ids="-".join,
)
def test_the_demo_proves_every_table_over_several_runs_that_relieve_one_another(
    tmp_path: Path, free_port: int, sources: tuple[str, ...]
) -> None:
    tables = [name for name in TABLES if name.partition("/")[0] in sources]
    report = tmp_path / "demo.json"
    former = Holds(tmp_path / "state" / "demo" / "state" / "holds" / "shop")
    former.hold("orders", "its collection was made again since the last demo", datetime.now(UTC))
    arguments = ["--once", "--seconds", "25", "--documents", "6000", "--rate", "300"]
    arguments += [word for name in sources for word in ("--source", name)]
    playing = demo(
        tmp_path, *arguments, "--report", str(report), "--port", str(free_port), CDC_RUN_SECONDS="20"
    )
    output, _ = playing.communicate(timeout=280 * len(sources))
    assert playing.returncode == 0, output
    found = json.loads(report.read_text())
    assert [(f"{table['source']}/{table['table']}", table["format"]) for table in found["tables"]] == [
        (name, stored) for name in tables for stored in ("delta", "iceberg")
    ]
    assert found["alike"] == dict.fromkeys(tables, True)
    for table in found["tables"]:
        assert table["verdict"] == "pass", table
        assert table["source_digest"] == table["lake_digest"]
        assert table["source_rows"] == table["current_rows"]
        rows = table["changelog_rows"]
        assert rows["r"] + rows["c"] - rows["d"] == table["source_rows"]
        assert 0 <= table["lag_p50_s"] <= table["lag_p95_s"]
    assert len(found["while_writing"]) == len(found["tables"])
    assert set(found["while_writing"].values()) == {"pass"}
    assert_every_change_that_was_committed_arrived_and_no_other(found)
    assert not left_behind(tmp_path)


def assert_every_change_that_was_committed_arrived_and_no_other(found: dict[str, Any]) -> None:
    for source in found["sources"]:
        for stored in ("delta", "iceberg"):
            arrived = Counter[str]()
            for table in found["tables"]:
                if (table["source"], table["format"]) == (source["source"], stored):
                    arrived.update(table["changelog_rows"])
            made = source["changes"]
            assert {"c": made["inserted"], "u": made["updated"], "d": made["deleted"]} == {
                operation: arrived[operation] for operation in "cud"
            }, (source, stored)


def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path, free_port: int) -> None:
    playing = demo(tmp_path, "--source", "shop", "--documents", "200", "--port", str(free_port))
    assert playing.stdout is not None
    for line in playing.stdout:
        if "initial snapshot" in line:
            break
    assert len(left_behind(tmp_path)) > 5
    os.kill(playing.pid, signal.SIGKILL)
    playing.stdout.close()
    playing.wait(timeout=10)
    eventually(lambda: not left_behind(tmp_path), 60)


def test_a_taken_port_is_one_clear_message(tmp_path: Path, taken_port: int) -> None:
    playing = demo(tmp_path, "--once", "--source", "shop", "--documents", "100", "--port", str(taken_port))
    output, _ = playing.communicate(timeout=120)
    assert playing.returncode == 1
    assert str(taken_port) in output
    assert "--port" in output
    assert "Traceback" not in output
    assert not left_behind(tmp_path)
