"""Every check of a table on the real stack: all pass while writers write; damage, and what stands still, is
told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bson import Int64
from confluent_kafka.admin import AdminClient, NewTopic
from deltalake import DeltaTable

from cdc_platform.cli.failures import Exit
from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import connector_config
from cdc_platform.core.model import Format, Kind, Limits, Target
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.iceberg.catalog import embedded
from cdc_platform.local.stack import Stack
from cdc_platform.operate.checking import verify
from cdc_platform.operate.keeping_up import patiently
from cdc_platform.platform import lake_of, lake_table, replicas, table_name
from cdc_platform.replicate import Drain, Until
from cdc_platform.replicate.fence import fence
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.verdict import Verdict
from tests.cli import calling
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

PATIENT = 60.0
"""Seconds of lag allowed here: other tests may run on this machine."""

ALL = frozenset(Check)


@pytest.fixture
def lake(stack: Stack, declare: Declare, tmp_path: Path) -> Lake:
    often = Limits(current_age=1.0)
    source = declare("orders", lag_seconds=PATIENT, limits=often, formats=tuple(Format))
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    return lake


@contextmanager
def drained(lake: Lake) -> Iterator[None]:
    """A run that stays, behind its fence, as Dagster's does."""
    stop = threading.Event()
    log = KafkaLog(lake.settings.kafka_bootstrap)

    def run() -> None:
        wanted = replicas(lake.settings, lake.source, log, {"orders": frozenset(Kind)})
        with fence(lake.settings, lake.source), Drain(wanted, log, Until()) as drain:
            while not stop.is_set():
                drain.take(timeout=0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def written(orders: Any) -> Iterator[None]:
    """Inserts, updates, replacements and deletes among a few keys; some values fit no column."""
    stop = threading.Event()

    def write() -> None:
        chance = random.Random(5)
        while not stop.is_set():
            key = chance.randrange(200)
            odd = chance.choice([1, 2.5, "three", None, Int64(2**60), {"a.b": [chance.random()]}])
            match chance.randrange(4):
                case 0:
                    orders.delete_one({"_id": key})
                case 1:
                    orders.replace_one({"_id": key}, {"odd": odd, "lines": [{"n": key}]}, upsert=True)
                case _:
                    orders.update_one({"_id": key}, {"$set": {"odd": odd}, "$inc": {"n": 1}}, upsert=True)
            time.sleep(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def found(lake: Lake, *checks: Check, stored: Format = Format.DELTA) -> dict[Check, Finding]:
    return found_in([stored], lake, *checks)[stored]


def found_in(formats: Iterable[Format], lake: Lake, *checks: Check) -> dict[Format, dict[Check, Finding]]:
    wanted = {Target("orders", stored): frozenset(checks) or ALL for stored in formats}
    all_of: dict[Format, dict[Check, Finding]] = {stored: {} for stored in formats}
    for finding in verify(lake.settings, lake.source, wanted):
        all_of[finding.format][finding.check] = finding
    return all_of


def uri(lake: Lake, kind: Kind) -> str:
    return lake_table(lake.settings, lake.source, "orders", kind).uri


def not_passed(findings: dict[Check, Finding]) -> list[str]:
    return [
        f"{each.check} {each.verdict}: {each.text}" for each in findings.values() if each.verdict != "pass"
    ]


def facts(finding: Finding) -> dict[str, Any]:
    return {fact.name: fact.value for fact in finding.facts}


def test_all_checks_pass_while_writers_write_and_files_are_compacted(lake: Lake, mongo: Mongo) -> None:
    orders = mongo[lake.source.database].orders
    with drained(lake), written(orders):
        eventually(lambda: lake.exists("orders") and lake.current("orders").height > 20, within=60)
        eventually(lambda: all(is_there(lake, stored) for stored in Format), within=60)
        first = found_in(Format, lake)
        for stored in Format:
            assert not_passed(first[stored]) == []
            assert set(first[stored]) == ALL
            name = table_name(lake.source, "orders", Kind.CHANGELOG)
            patiently(partial(lake_of(lake.settings, stored).compact, name))
        again = found_in(Format, lake)
    positions = {facts(again[stored][Check.CONTENT])["position"] for stored in Format}
    assert len(positions) == 1, "both are proven at one time: they equal each other"
    for stored in Format:
        assert not_passed(again[stored]) == []
        anchor = facts(again[stored][Check.CDF_INTEGRITY])["anchor_version"]
        assert anchor == facts(first[stored][Check.CDF_INTEGRITY])["current_version"] > 0
        assert facts(again[stored][Check.OFFSETS_COMPLETE])["kafka_records"] > 100
        assert facts(again[stored][Check.LAG])["changelog_lag_p95_seconds"] < PATIENT


def is_there(lake: Lake, stored: Format) -> bool:
    tables = [lake_table(lake.settings, lake.source, "orders", kind, stored) for kind in Kind]
    return all(table.exists() and table.snapshot()[1] > 20 for table in tables)


def test_damage_is_found_by_the_check_it_is_for_and_by_the_shell(
    lake: Lake, mongo: Mongo, tmp_path: Path
) -> None:
    orders = mongo[lake.source.database].orders
    orders.insert_many([{"_id": n, "v": n} for n in range(50)])
    orders.update_many({"_id": {"$lt": 10}}, {"$inc": {"v": 1}})
    calling.declare(
        tmp_path / "sources",
        lake.source.name,
        uri=lake.source.uri,
        collections=["orders"],
        lag_seconds=PATIENT,
    )
    env = {f"CDC_{name.upper()}": str(value) for name, value in lake.settings.model_dump().items()}

    def shell(*words: str) -> Any:
        return calling.cdc("--sources", str(tmp_path / "sources"), "verify", *words, env=env)

    eventually(lambda: lake.waiting("orders") >= 60)
    passing = shell(
        "orders", "--checks", "row_counts,content,cdf_integrity,offsets_complete,schema_consistent"
    )
    assert passing.exit_code == Exit.DONE, passing.output
    assert passing.stdout.count("PASS") == 5

    DeltaTable(uri(lake, Kind.CURRENT)).delete("_key = '7'")
    after = found(lake)
    assert after[Check.CDF_INTEGRITY].verdict is Verdict.FAIL
    assert "7 missing" in after[Check.CDF_INTEGRITY].text
    assert "(DELETE)" in after[Check.CDF_INTEGRITY].text
    assert after[Check.CONTENT].verdict is after[Check.ROW_COUNTS].verdict is Verdict.FAIL
    assert after[Check.OFFSETS_COMPLETE].verdict is Verdict.PASS

    (path, *_) = Path(uri(lake, Kind.CHANGELOG)).glob("*.parquet")
    path.rename(tmp_path / "taken away")
    failing = shell("--json")
    assert failing.exit_code == Exit.DIFFERENT, failing.output
    told = {each["check"]: each for each in calling.document(failing)["findings"]}
    for check in ("content", "cdf_integrity", "offsets_complete"):
        assert told[check]["verdict"] == "fail", told[check]
        assert f"data file {path.name} is missing" in told[check]["text"]


def test_damage_to_one_format_is_found_and_the_other_passes(lake: Lake, mongo: Mongo) -> None:
    orders = mongo[lake.source.database].orders
    orders.insert_many([{"_id": n, "v": n} for n in range(50)])
    eventually(lambda: lake.waiting("orders") >= 50)
    lake.drain()
    checks = ALL - {Check.LAG}
    assert all(not_passed(each) == [] for each in found_in(Format, lake, *checks).values())
    checks -= {Check.DELTA_ICEBERG_PARITY}  # which tells both that they differ

    catalog = embedded(lake.settings.lake_root.absolute())
    table = catalog.load_table((lake.source.name, "orders"))
    table.delete("_key = '7'")
    after = found_in(Format, lake, *checks)
    assert not_passed(after[Format.DELTA]) == []
    parity = found_in(Format, lake, Check.DELTA_ICEBERG_PARITY)
    for stored in Format:
        differs = parity[stored][Check.DELTA_ICEBERG_PARITY]
        assert differs.verdict is Verdict.FAIL
        assert "7 in delta alone (went wrong at changelog → current: in iceberg" in differs.text
    damaged = after[Format.ICEBERG]
    assert damaged[Check.CONTENT].verdict is damaged[Check.ROW_COUNTS].verdict is Verdict.FAIL
    assert "7 missing" in damaged[Check.CONTENT].text
    assert damaged[Check.CDF_INTEGRITY].verdict is Verdict.FAIL
    assert "Not made by this platform" in damaged[Check.CDF_INTEGRITY].text

    changes = catalog.load_table((lake.source.name, "orders_changes"))
    (file, *_) = (task.file.file_path for task in changes.scan().plan_files())
    Path(file.removeprefix("file://")).unlink()
    gone = found_in(Format, lake, *checks)
    assert not_passed(gone[Format.DELTA]) == []
    for check in (Check.CONTENT, Check.CDF_INTEGRITY, Check.OFFSETS_COMPLETE):
        assert gone[Format.ICEBERG][check].verdict is Verdict.FAIL, gone[Format.ICEBERG][check].text
        assert f"data file {Path(file).name} is missing" in gone[Format.ICEBERG][check].text


def test_what_stands_still_is_unknown_or_late_and_never_passed(
    lake: Lake, mongo: Mongo, connect: ConnectClient
) -> None:
    orders = mongo[lake.source.database].orders
    orders.insert_one({"_id": 1})
    assert {check: each.verdict for check, each in found(lake, Check.SCHEMA_CONSISTENT).items()} == {
        Check.SCHEMA_CONSISTENT: Verdict.UNKNOWN
    }, "there are no tables yet"
    eventually(lambda: lake.waiting("orders") >= 1)
    lake.drain()
    waiting = lake.waiting("orders")
    orders.insert_one({"_id": 2})  # the first commit ends a rest, the second does not
    eventually(lambda: lake.waiting("orders") > waiting)
    lake.drain()
    strict = lake.source.model_copy(update={"lag_seconds": 0.001})
    (late,) = verify(lake.settings, strict, {Target("orders", Format.DELTA): frozenset({Check.LAG})})
    assert late.verdict is Verdict.FAIL
    assert late.text.startswith("LAGGING")
    connect.pause(lake.source.connector)
    paused = found(lake, Check.LAG)[Check.LAG]
    assert paused.verdict is Verdict.UNKNOWN
    assert "PAUSED" in paused.text
    connect.resume(lake.source.connector)
    refused = {"cursor.pipeline": '[{"$nonsense": {}}]', "errors.max.retries": "0"}
    connect.apply(lake.source.connector, {**connector_config(lake.source), **refused})
    eventually(lambda: connect.status(lake.source.connector).failed)
    broken = found(lake, Check.LAG)[Check.LAG]
    assert broken.verdict is Verdict.FAIL
    assert broken.text.startswith(f"FAILED: connector {lake.source.connector} captures nothing any more")
    assert "Exception: " in broken.text, "in Kafka Connect's own words"


def test_a_topic_tells_whether_it_is_compacted(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
    topics = [
        NewTopic("checks.plain", 1),
        NewTopic("checks.compacted", 1, config={"cleanup.policy": "compact,delete"}),
    ]
    for made in admin.create_topics(topics).values():
        made.result(timeout=10)
    log = KafkaLog(stack.endpoints.kafka_bootstrap)
    eventually(lambda: len(log.streams([topic.topic for topic in topics])) == len(topics))
    assert [log.compacted(topic.topic) for topic in topics] == [False, True]
    for gone in admin.delete_topics([topic.topic for topic in topics]).values():
        gone.result(timeout=10)


def test_a_table_at_rest_has_no_lag_if_a_marker_comes_through_and_is_unknown_while_its_connector_rests(
    stack: Stack, declare: Declare, mongo: Mongo, connect: ConnectClient, tmp_path: Path
) -> None:
    lake = Lake(stack, declare("orders", lag_seconds=PATIENT), tmp_path)
    database = mongo[lake.source.database]
    database.orders.insert_many([{"_id": n} for n in range(20)])
    database.others.insert_one({"_id": 1})  # the stream begins here: orders come by the snapshot alone
    lake.deploy()
    eventually(lambda: lake.waiting("orders") >= 20)
    lake.drain()
    at_rest = found(lake, Check.LAG)[Check.LAG]
    assert at_rest.verdict is Verdict.PASS, at_rest.text
    assert 0 < facts(at_rest)["marker_seconds"] < PATIENT
    connect.pause(lake.source.connector)
    eventually(lambda: found(lake, Check.LAG)[Check.LAG].verdict is Verdict.UNKNOWN)
