"""Collections that did not exist when Dagster started: captured, drained and shown, by nobody's hand."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from cdc_platform.core.model import Limits
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.daemon import project
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def shown(port: int) -> set[str]:
    """Assets that the webserver has definitions of."""
    query = {"query": "{ assetNodes { assetKey { path } } }"}
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=10).json()
    except httpx.TransportError:
        return set()
    return {"/".join(node["assetKey"]["path"]) for node in (answer.get("data") or {}).get("assetNodes", [])}


def test_a_new_collection_that_a_glob_takes_is_captured_drained_and_shown_without_a_restart(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path, free_port: int
) -> None:
    source = declare("orders", "audit_*", partitions=2, limits=Limits(current_age=1))
    lake = Lake(stack, source, tmp_path)
    database = mongo[source.database]
    database.create_collection("audit_before")
    lake.deploy()
    database.audit_before.insert_one({"_id": 1, "n": 1})
    with project(lake, f"p{source.name}", free_port) as dagster:
        eventually(lambda: lake.exists("audit_before") and lake.current("audit_before").height == 1, 90)
        eventually(lambda: f"delta/{source.name}/audit_before" in shown(free_port))

        database.audit_after.insert_many([{"_id": n, "n": n} for n in range(50)])
        database["audit_a b"].insert_one({"_id": 1})
        eventually(lambda: lake.exists("audit_after") and lake.current("audit_after").height == 50, 60)
        database.audit_after.update_many({}, {"$inc": {"n": 1}})
        database.audit_after.delete_one({"_id": 0})
        eventually(lambda: lake.current("audit_after")["n"].sort().to_list() == list(range(2, 51)))
        assert lake.changes("audit_after").filter(_cdc_operation="u").height == 50
        assets = {f"delta/{source.name}/{name}" for name in ("audit_after", "audit_after_changes")}
        eventually(lambda: assets <= shown(free_port))
        [topic] = KafkaLog(lake.settings.kafka_bootstrap).streams([source.topic("audit_after")]).values()
        assert topic.partitions == 2
        eventually(lambda: "'audit_a b' is not captured" in dagster.said(), 40)
