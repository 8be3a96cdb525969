"""The check ``lag`` over real Delta commits: late, waiting, stopped and quiet are four things."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Kind
from cdc_platform.verify.capturing import Capturing, Connector
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.lag import Stage, lag_check
from cdc_platform.verify.verdict import Cause, Unprovable, Verdict
from tests.replicate.events import FIRST_SECOND, event
from tests.replicate.memory_log import TIMESTAMP_MS, Visible
from tests.verify.shop import TOPIC, Shop

RUNNING = Connector("cdc-shop", Capturing.RUNNING, "connector RUNNING, task 0 RUNNING")


def change(key: int, seconds_ago: float, operation: str = "u") -> Visible:
    """An event that the source committed so long ago."""
    return event(key, operation, {"_id": key}, at=int((time.time() - seconds_ago - FIRST_SECOND) * 4))


def now() -> datetime:
    return datetime.now(UTC)


def unasked() -> float:
    raise AssertionError("a table whose changes can be measured needs no marker")


def silent() -> float:
    raise Unprovable(Cause.CONNECTOR_SILENT, "the marker did not arrive in Kafka", remedy="look at it")


def check(shop: Shop, **options: Any) -> Finding:
    given = {
        "stream": shop.stream,
        "log": shop.log,
        "connector": RUNNING,
        "limit": 5.0,
        "now": now,
        "pulse": unasked,
        **options,
    }
    return lag_check("orders", shop.place(Kind.CHANGELOG), shop.place(Kind.CURRENT), Stage(**given))


def facts(found: Finding) -> dict[str, Any]:
    return {fact.name: fact.value for fact in found.facts}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_changes_that_came_at_once_pass_with_their_lag(shop: Shop) -> None:
    shop.take(change(1, 1), change(2, 1))
    found = check(shop)
    assert found.verdict is Verdict.PASS, found.text
    assert 0 < facts(found)["changelog_lag_p50_seconds"] <= facts(found)["changelog_lag_p95_seconds"] < 5
    assert facts(found)["current_lag_p95_seconds"] >= facts(found)["changelog_lag_p95_seconds"]
    assert facts(found)["waiting_offsets"] == 0


def test_a_table_without_a_current_state_has_the_lag_of_its_changelog(shop: Shop) -> None:
    shop.take(change(1, 1), change(2, 1))
    stage = Stage(shop.stream, shop.log, RUNNING, 5.0, now, unasked)
    found = lag_check("orders", shop.place(Kind.CHANGELOG), None, stage)
    assert found.verdict is Verdict.PASS, found.text
    assert "current_lag_p95_seconds" not in facts(found)


def test_changes_that_came_late_fail_as_lagging(shop: Shop) -> None:
    shop.take(change(1, 61), change(2, 60))
    found = check(shop)
    assert found.verdict is Verdict.FAIL
    assert found.text.startswith("LAGGING: over the last 5 minutes")
    assert 59 < facts(found)["changelog_lag_p95_seconds"] < 100
    assert check(shop, limit=100).verdict is Verdict.PASS


def test_one_late_change_among_many_is_no_lag(shop: Shop) -> None:
    shop.take(change(0, 60), *(change(n, 1) for n in range(1, 60)))
    found = check(shop)
    assert found.verdict is Verdict.PASS, found.text
    assert facts(found)["changelog_lag_max_seconds"] > 50


def test_what_ends_a_rest_may_take_the_time_a_run_needs_to_start(shop: Shop) -> None:
    shop.take(change(1, 9))
    found = check(shop)
    assert found.verdict is Verdict.PASS, found.text
    assert facts(found)["changelog_lag_p95_seconds"] > 8
    shop.take(*(change(n, 8) for n in range(2, 5)))
    found = check(shop)
    assert found.verdict is Verdict.FAIL, "these did not end one"
    assert "5 s are allowed for p95." in found.text


def test_what_ends_a_rest_too_late_fails_among_many_that_are_fast(shop: Shop) -> None:
    shop.take(change(1, 20))
    for n in range(2, 30):
        shop.take(change(n, 1))
    found = check(shop)
    assert found.verdict is Verdict.FAIL
    assert "15 s are allowed for p95 after a rest" in found.text


def test_a_record_that_waits_after_a_rest_waits_for_a_run(shop: Shop) -> None:
    shop.write(change(1, 1))
    shop.changelog.open(shop.stream)
    shop.current.open(shop.stream)
    arrived = datetime.fromtimestamp(TIMESTAMP_MS / 1000, UTC)
    waking, late = timedelta(seconds=9), timedelta(seconds=16)
    assert check(shop, now=lambda: arrived + waking, pulse=lambda: 0.5).verdict is Verdict.PASS
    assert check(shop, now=lambda: arrived + late, pulse=lambda: 0.5).verdict is Verdict.FAIL


def test_records_that_wait_too_long_fail_whatever_was_committed_before(shop: Shop) -> None:
    shop.take(change(1, 1))
    shop.write(change(2, 1), change(3, 1))
    later = datetime.fromtimestamp(TIMESTAMP_MS / 1000 + 7, UTC)
    found = check(shop, now=lambda: later)
    assert found.verdict is Verdict.FAIL
    assert found.text.startswith("LAGGING: up to 4 records wait in Kafka, the first since 7.0 s")
    assert check(shop, now=lambda: later, limit=8).verdict is not Verdict.FAIL


def test_markers_of_transactions_wait_for_nobody(shop: Shop) -> None:
    shop.take(change(1, 1))
    shop.log.write(TOPIC, 0, None, None)
    assert facts(check(shop))["waiting_seconds"] == 0


def test_a_connector_that_failed_is_failed_and_not_lagging(shop: Shop) -> None:
    shop.take(change(1, 1))
    found = check(shop, connector=Connector("cdc-shop", Capturing.FAILED, "ChangeStreamHistoryLost"))
    assert found.verdict is Verdict.FAIL
    assert found.text.startswith(
        "FAILED: connector cdc-shop captures nothing any more: ChangeStreamHistoryLost"
    )
    assert "LAGGING" not in found.text


@pytest.mark.parametrize("state", [Capturing.STANDING, Capturing.UNREACHABLE])
def test_a_connector_that_is_not_known_to_run_is_unknown(shop: Shop, state: Capturing) -> None:
    shop.take(change(1, 1))
    found = check(shop, connector=Connector("cdc-shop", state, "it is PAUSED"))
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    assert "it is PAUSED" in found.text


def later() -> datetime:
    """When the table has been at rest for longer than is looked at."""
    return now() + timedelta(minutes=6)


def test_a_table_at_rest_passes_if_a_marker_comes_into_kafka_in_time(shop: Shop) -> None:
    shop.take(change(1, 1))
    found = check(shop, now=later, pulse=lambda: 0.5)
    assert found.verdict is Verdict.PASS, found.text
    assert "A marker that was written into the source" in found.text
    assert facts(found)["marker_seconds"] == 0.5
    assert "changelog_lag_p95_seconds" not in facts(found)


def test_a_table_at_rest_is_unknown_if_no_marker_comes_into_kafka_in_time(shop: Shop) -> None:
    shop.take(change(1, 1))
    found = check(shop, now=later, pulse=silent)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    assert "The marker did not arrive in Kafka" in found.text
    found = check(shop, now=later, pulse=lambda: 7.0)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    assert "after 7.00 s; 5 s are allowed" in found.text


@pytest.mark.parametrize("state", [Capturing.STANDING, Capturing.UNREACHABLE])
def test_no_marker_is_written_for_a_connector_that_is_not_known_to_run(shop: Shop, state: Capturing) -> None:
    shop.take(change(1, 1))
    found = check(shop, now=later, connector=Connector("cdc-shop", state, "it is PAUSED"))
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    assert "there is no lag to measure" in found.text


def test_what_came_into_kafka_before_the_marker_is_looked_at_too(shop: Shop) -> None:
    shop.take(change(1, 1))
    arrived = datetime.fromtimestamp(TIMESTAMP_MS / 1000, UTC)

    def changing() -> float:
        shop.write(change(2, 1))
        return 0.5

    found = check(shop, now=lambda: max(later(), arrived + timedelta(minutes=1)), pulse=changing)
    assert found.verdict is Verdict.FAIL, found.text
    assert "records wait in Kafka" in found.text


def test_rows_of_a_snapshot_have_no_lag_and_a_marker_tells(shop: Shop) -> None:
    shop.take(change(1, 1, "r"))
    found = check(shop, pulse=lambda: 0.5)
    assert found.verdict is Verdict.PASS, found.text
    assert "rows that a snapshot read" in found.text
    assert check(shop, pulse=silent).verdict is Verdict.UNKNOWN


def test_kafka_that_does_not_answer_is_unknown_unless_the_lag_was_seen_to_be_high(shop: Shop) -> None:
    class Down:
        def ends(self, _: object) -> object:
            raise Transient("Kafka did not answer", remedy="check the brokers")

    shop.take(change(1, 70))
    found = check(shop, log=Down(), limit=100)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.TABLE_UNREADABLE)
    assert "Kafka did not answer" in found.text
    shop.take(*(change(n, 60) for n in range(9)))
    assert check(shop, log=Down()).verdict is Verdict.FAIL


def test_a_clock_that_is_behind_makes_no_negative_lag(shop: Shop) -> None:
    shop.take(change(1, -3))
    assert facts(check(shop))["changelog_lag_p50_seconds"] == 0
