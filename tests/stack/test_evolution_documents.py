"""Documents whose fields change in the middle of a running stream: MongoDB's forms of the six scenarios, into
both formats, each proven against the source before and after."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from cdc_platform.platform import replicas
from cdc_platform.replicate import Failure
from cdc_platform.replicate.schema_history import read_history
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

BOTH = (Format.DELTA, Format.ICEBERG)
COLLECTIONS = ("fields", "refused", "several")


def proven(lake: Lake, collection: str) -> None:
    for result in lake.proofs(collection):
        assert result.verdict is Verdict.PASS, result.text


def test_fields_come_go_widen_change_their_type_and_their_name(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    source = declare(*COLLECTIONS, formats=BOTH, collection_compatibility={"refused": Compatibility.BACKWARD})
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    database = mongo[source.database]
    fields = database["fields"]
    fields.insert_many([{"_id": n, "v": n, "name": "n"} for n in range(4)])
    proven(lake, "fields")

    fields.update_many({"_id": {"$lt": 2}}, {"$set": {"extra": {"deep": [1, 2]}}})  # added
    fields.update_many({"_id": 3}, {"$unset": {"name": ""}})  # dropped
    fields.insert_one({"_id": 10, "v": 2**40})  # widened
    proven(lake, "fields")
    fields.insert_many([{"_id": 20, "v": "text"}, {"_id": 21, "v": 1.5}])  # of another type
    fields.update_many({"name": "n"}, {"$rename": {"name": "title"}})  # renamed
    proven(lake, "fields")
    log = KafkaLog(lake.settings.kafka_bootstrap)
    for replica in replicas(lake.settings, source, log, {"fields": frozenset(Kind)}):
        assert replica.history.table is not None
        told = [each.changes for each in read_history(replica.history.table, replica.stream)]
        assert told[0] == "first seen"
        assert any("added extra" in each for each in told)
        assert any("added title" in each for each in told)

    refused = database["refused"]
    refused.insert_one({"_id": 1, "v": 1})
    proven(lake, "refused")
    refused.insert_one({"_id": 2, "v": "text"})

    def stopped() -> bool:
        failures = [each for each in lake.drain("refused") if isinstance(each, Failure)]
        assert all(isinstance(each.error, SchemaRefused) for each in failures)
        return {each.format for each in failures} == set(BOTH)

    eventually(stopped)

    several = database["several"]
    writers = [
        threading.Thread(target=lambda name=name: [several.insert_one({"a": n, name: n}) for n in range(30)])
        for name in ("b", "c", "d")
    ]
    for each in writers:
        each.start()
    proven(lake, "several")
    for each in writers:
        each.join()
    several.update_many({}, {"$unset": {"a": ""}})
    proven(lake, "several")
