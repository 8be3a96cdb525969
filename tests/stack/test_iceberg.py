"""A captured collection in Iceberg tables, and the proof that they equal the source."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import OPERATION
from cdc_platform.core.model import Kind
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact
from cdc_platform.local.stack import Stack
from cdc_platform.platform import replicas, subject
from cdc_platform.prove import prove
from cdc_platform.replicate import Replica, replicate
from cdc_platform.verify.truth.opening import truths
from cdc_platform.verify.verdict import Result, Verdict
from tests.stack.conftest import Declare, Mongo
from tests.stack.lake import Lake
from tests.stack.topics import read

pytestmark = pytest.mark.stack

NAMESPACE = "shop"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    made = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=(tmp_path / "wh").as_uri())
    yield made
    made.close()


def proven(lake: Lake, replica: Replica, log: KafkaLog) -> Result:
    def catch_up() -> None:
        replicate(replica, log)

    with truths(lake.source) as truth_of, closing(truth_of(replica.name)) as truth:
        return prove(
            subject(lake.source, replica, log, truth),
            marker=uuid.uuid4().hex,
            deadline=60,
            clock=time.monotonic,
            sleep=time.sleep,
            drain=catch_up,
        )


def test_inserts_updates_deletes_and_new_fields_arrive_and_the_proof_passes(
    stack: Stack, declare: Declare, mongo: Mongo, catalog: SqlCatalog, tmp_path: Path
) -> None:
    source = declare("orders")
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    log = KafkaLog(lake.settings.kafka_bootstrap)
    [given] = replicas(lake.settings, source, log, {"orders": frozenset(Kind)})
    replica = dataclasses.replace(
        given,
        changelog=IcebergLakeTable(lambda: catalog, (NAMESPACE, "orders_changes"), Kind.CHANGELOG),
        current=IcebergLakeTable(lambda: catalog, (NAMESPACE, "orders"), Kind.CURRENT),
    )
    orders, topic = mongo[source.database].orders, source.topic("orders")
    orders.insert_many(
        [{"_id": n, "v": n, "items": [{"sku": f"s{n}"}] if n % 3 else None} for n in range(200)]
    )
    read(stack.endpoints.kafka_bootstrap, topic, 200)
    replicate(replica, log)
    orders.update_many({"_id": {"$lt": 50}}, {"$set": {"v": 2.5, "at": {"city": "Y", "zip": None}}})
    orders.update_many({"_id": {"$gte": 190}}, {"$set": {"items": [{"sku": "x", "n": 7}], "a.b": 1}})
    orders.delete_many({"_id": {"$gte": 100, "$lt": 150}})
    read(stack.endpoints.kafka_bootstrap, topic, 310)
    replicate(replica, log)
    assert proven(lake, replica, log).verdict is Verdict.PASS
    changes = replica.changelog.read(replica.changelog.open(replica.stream))
    assert dict(changes.group_by(OPERATION).len().collect().iter_rows()) == {"c": 200, "u": 60, "d": 50}
    for name in ("orders", "orders_changes"):
        compact(catalog, (NAMESPACE, name))
    orders.update_one({"_id": 0}, {"$set": {"v": "text"}})
    result = proven(lake, replica, log)
    assert result.verdict is Verdict.PASS, result.text
    current = replica.current.read(replica.current.open(replica.stream)).collect()
    assert current.filter(pl.col("_id") == 0)["v__json"].to_list() == ['"text"']
    assert current.height == 150
