"""What the commands answer where nothing runs, and how a run is told."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Thread

import pytest

from cdc_platform.cli.follow import appended
from cdc_platform.cli.progress import Progress, commit_line
from cdc_platform.core.errors import Conflict, SchemaRefused
from cdc_platform.core.model import Format, Kind, Lag, Receipt
from cdc_platform.core.offsets import Range
from cdc_platform.local.components import SERVICES
from cdc_platform.replicate import Failure, Until
from tests.cli.calling import cdc, document
from tests.cli.conftest import Nowhere


def receipt(kind: Kind = Kind.CHANGELOG, table: str = "orders", version: int = 7) -> Receipt:
    return Receipt(
        table=table,
        kind=kind,
        version=version,
        ranges={1: Range(5, 9), 0: Range(17, 42)},
        rows_in=1_250,
        applied={"u": 50, "c": 1_000},
        superseded=200,
        committed_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        seconds=0.12,
        lag=Lag(0.5, 0.8123, 1.5),
        added=("note",),
    )


def failure(table: str) -> Failure:
    return Failure(
        table, Kind.CHANGELOG, SchemaRefused("qty is text", where=f"topic {table}", remedy="mend it")
    )


def test_a_stack_that_is_down_is_shown_and_ends_with_1(nowhere: Nowhere) -> None:
    result = cdc("stack", "status", "--json", env=nowhere.env)

    assert result.exit_code == 1
    services = {each["name"]: each["state"] for each in document(result)["services"]}
    assert services == dict.fromkeys(SERVICES, "down")
    assert "cdc stack up" in result.stderr


def test_ending_a_stack_that_is_down_is_fine(nowhere: Nowhere) -> None:
    assert cdc("stack", "down", env=nowhere.env).exit_code == 0
    assert document(cdc("stack", "reset", "--yes", "--json", env=nowhere.env))["reset"] is True


def test_a_log_that_does_not_exist_is_an_error(nowhere: Nowhere) -> None:
    result = cdc("stack", "logs", "kafka", env=nowhere.env)

    assert result.exit_code == 1
    assert "kafka has no log" in result.stderr


def test_the_last_lines_of_a_log_are_printed(nowhere: Nowhere) -> None:
    log = nowhere.folder / "state" / "logs" / "kafka.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo [x]\nthree\n")

    assert cdc("stack", "logs", "kafka", "-n", "2", env=nowhere.env).stdout == "two [x]\nthree\n"
    answer = document(cdc("stack", "logs", "kafka", "-n", "1", "--json", env=nowhere.env))
    assert answer == {"service": "kafka", "log": str(log), "lines": ["three"]}


def test_following_a_file_gives_what_comes_and_survives_its_replacement(tmp_path: Path) -> None:
    log, fresh = tmp_path / "service.log", tmp_path / "fresh.log"
    log.write_text("an old line\n")
    news = appended(log, log.stat().st_size)

    with log.open("a") as file:
        file.write("new\n")
    assert next(news) == "new\n"

    fresh.write_text("fresh\n")
    fresh.replace(log)
    assert next(news) == "fresh\n"

    seen: list[str] = []
    waiting = Thread(target=lambda: seen.extend(islice(news, 1)))
    waiting.start()
    with log.open("a") as file:
        file.write("later\n")
    waiting.join(timeout=5)
    assert seen == ["later\n"]


def test_tables_are_listed_without_kafka_and_looking_creates_none(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "tables", "--json", env=nowhere.env)

    assert result.exit_code == 0
    answer = document(result)
    assert answer["kafka"]["reachable"] is False
    assert [(t["source"], t["name"], t["kind"]) for t in answer["tables"]] == [
        ("ledger", "entries", "changelog"),
        ("ledger", "entries", "current"),
        *(("shop", name, kind) for name in ("orders", "customers") for kind in ("changelog", "current")),
    ]
    assert all(not t["exists"] and t["lag"] is None and t["version"] is None for t in answer["tables"])
    assert "lag is unknown: Kafka did not answer" in result.stderr
    assert "KafkaError" not in result.stderr, "its reason, not its repr"
    assert not (nowhere.folder / "lake").exists()


def test_a_commit_is_one_line_with_rows_offsets_and_lag() -> None:
    line = commit_line(receipt())

    assert line.partition(" ")[2] == (
        "orders (delta) changelog v7: 1,250 in, 1,000 c 50 u, 200 superseded, 0:[17,42) 1:[5,9), "
        "lag p95 0.81 s, took 0.12 s, new columns note"
    )


def test_dead_letters_of_a_commit_are_not_overlooked() -> None:
    progress = Progress("shop", Until(caught_up=True), began=0.0)

    progress.add(replace(receipt(), rows_in=1_253, dead=3))

    assert "200 superseded, 3 DEAD LETTERS, 0:[17,42)" in commit_line(replace(receipt(), dead=3))
    assert progress.tallies["orders", Format.DELTA, Kind.CHANGELOG].dead == 3


def test_a_run_adds_up_its_commits() -> None:
    progress = Progress("shop", Until(caught_up=True), began=100.0)
    for version in (7, 8):
        progress.add(receipt(version=version))
    progress.add(receipt(Kind.CURRENT))

    assert progress.summary(110.0) == "shop: 2,500 changes in 3 commits, 10.0 s (250/s), lag p95 0.81 s"
    told = progress.document(110.0)
    assert told["ended"] == "caught up"
    assert "error" not in told
    assert progress.totals() == {"rows_in": 2_500, "commits": 3, "failed": 0}
    changelog = progress.tallies["orders", Format.DELTA, Kind.CHANGELOG]
    assert (changelog.rows_in, changelog.superseded, changelog.version) == (2_500, 400, 8)
    assert changelog.applied == {"c": 2_000, "u": 100}
    assert changelog.offsets == {0: 42, 1: 9}


def test_a_table_that_stops_is_named_and_ends_the_run_with_4() -> None:
    progress = Progress("shop", Until(caught_up=True), began=0.0, failures=[failure("orders")])

    error = progress.error()

    assert error is not None
    assert error.fields == {
        "what": "table orders (delta) changelog stopped: qty is text",
        "where": "topic orders",
        "remedy": "mend it",
    }
    assert progress.exit_code() == 4
    assert progress.ended(1.0) == "failed"


def test_tables_that_may_go_on_later_end_the_run_with_3_unless_one_needs_somebody() -> None:
    passing = Failure("customers", Kind.CURRENT, Conflict("somebody else committed first"))
    progress = Progress("shop", Until(caught_up=True), began=0.0, failures=[passing])
    assert progress.exit_code() == 3

    progress.failures.append(failure("orders"))
    assert progress.exit_code() == 4


def test_several_failed_tables_are_all_named() -> None:
    progress = Progress("shop", Until(), began=0.0, failures=[failure("orders"), failure("customers")])

    error = progress.error()

    assert error is not None
    assert error.what.startswith("2 lake tables stopped\n")
    for name in ("orders", "customers"):
        assert f"table {name} (delta) changelog stopped: qty is text\n  where: topic {name}" in error.what


@pytest.mark.parametrize(("until", "code"), [(Until(caught_up=True), 143), (Until(idle=30), 0), (Until(), 0)])
def test_only_a_run_that_had_an_end_to_reach_is_told_as_interrupted(until: Until, code: int) -> None:
    progress = Progress("shop", until, began=0.0, signal=signal.SIGTERM)

    assert progress.exit_code() == code
    assert progress.ended(1.0) == "interrupted by SIGTERM"


@pytest.mark.parametrize(
    ("until", "now", "ended"),
    [
        (Until(caught_up=True), 1.0, "caught up"),
        (Until(idle=3), 5.0, "idle"),
        (Until(idle=3, seconds=5), 4.0, "idle"),
        (Until(idle=3, seconds=5), 5.1, "out of time"),
    ],
)
def test_a_run_says_why_it_ended(until: Until, now: float, ended: str) -> None:
    assert Progress("shop", until, began=0.0).ended(now) == ended
