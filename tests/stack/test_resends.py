"""What a connector without exactly-once support does after a crash, done to the topic of a real one: its last
records, byte for byte, once more."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cdc_platform.core.columns import OPERATION, RESENT
from cdc_platform.local.stack import Stack
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Declare, Mongo
from tests.stack.lake import Lake
from tests.stack.topics import read, send_again

pytestmark = pytest.mark.stack


def test_records_sent_again_are_marked_and_the_lake_equals_the_source(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    source = declare("orders")
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    orders, topic = mongo[source.database].orders, source.topic("orders")
    bootstrap = stack.endpoints.kafka_bootstrap
    orders.insert_many([{"_id": n, "v": 0} for n in range(40)])
    orders.update_many({"_id": {"$lt": 20}}, {"$inc": {"v": 1}})
    orders.delete_many({"_id": {"$lt": 10}})
    with mongo.start_session() as session, session.start_transaction():
        for v in (2, 3):
            orders.update_many({"_id": {"$gte": 30}}, {"$set": {"v": v}}, session=session)
    events = read(bootstrap, topic, 90)
    lake.drain()
    before = lake.current("orders")

    send_again(bootstrap, topic, events[-60:])
    orders.insert_one({"_id": 100, "v": 7})
    orders.update_one({"_id": 35}, {"$set": {"v": 9}})
    read(bootstrap, topic, 152)
    lake.drain()

    changes = lake.changes("orders")
    assert changes.filter(pl.col(RESENT)).height == 60
    assert dict(changes.filter(~pl.col(RESENT)).group_by(OPERATION).len().iter_rows()) == {
        "c": 41, "u": 41, "d": 10
    }  # fmt: skip
    after = lake.current("orders")
    kept = before.filter(pl.col("_id") != 35)
    assert after.filter(~pl.col("_id").is_in([35, 100])).sort("_id").equals(kept.sort("_id"))
    proven = lake.prove("orders")
    assert proven.verdict is Verdict.PASS, proven.text
