"""Exactly once, shown: real processes, killed, stopped and raced for real, over real Debezium events.

After each fault the changelog must hold every record that a plain consumer is delivered exactly once, the
proof must pass, and the current table must have the source's documents. That writers with a mistake do not
get through this is shown too.

``CDC_TEST_KILLS`` sets the number of random kills, ``CDC_TEST_SEED`` their moments.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from cdc_platform.orchestrate.keys import target_key
from cdc_platform.verify.finding import Check
from tests.stack.conftest import Mongo
from tests.stack.crash import oracle
from tests.stack.crash.processes import Child, Children, children
from tests.stack.crash.shopping import Shopping, captured, files
from tests.stack.crash.tables import TableFiles
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

POINTS = (
    "before_commit:changelog",
    "after_commit:changelog",
    "after_commit:current",
    "before_event:changelog",
    *(
        pytest.param(point, marks=pytest.mark.matrix)
        for point in ("after_read", "before_commit:current", "before_event:current")
    ),
)
PAIRS = [
    (Kind.CHANGELOG, Format.ICEBERG),
    (Kind.CURRENT, Format.DELTA),
    pytest.param(Kind.CHANGELOG, Format.DELTA, marks=pytest.mark.matrix),
    pytest.param(Kind.CURRENT, Format.ICEBERG, marks=pytest.mark.matrix),
]
KILLS = int(os.environ.get("CDC_TEST_KILLS", "5"))
SEED = int(os.environ.get("CDC_TEST_SEED", "20240229"))
RATE = 500
"""Changes a second."""


@pytest.fixture(scope="module")
def shopping(
    stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shopping]:
    """One captured shop for all tests; each fills a lake of its own from it."""
    with captured(stack, mongo, connect, SEED, tmp_path_factory.mktemp("deploy")) as shopping:
        yield shopping


@pytest.fixture
def lake(shopping: Shopping, tmp_path: Path) -> Lake:
    return shopping.lake(tmp_path)


@pytest.fixture
def processes(lake: Lake, tmp_path: Path) -> Iterator[Children]:
    with children(lake.source, lake.settings, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def dagster_lake(shopping: Shopping, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One lake for all points: the first is met while there are no tables, the others by tables with rows."""
    root = tmp_path_factory.mktemp("dagster")
    (root / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return shopping.lake(root)


@pytest.mark.parametrize("point", POINTS)
def test_a_dagster_run_killed_at_any_point_is_made_good_by_the_next(
    shopping: Shopping, dagster_lake: Lake, point: str, tmp_path: Path
) -> None:
    shopping.burst()
    home = dagster_lake.settings.state_dir
    command = ("-m", "dagster", "asset", "materialize", "-f", "tests/project.py", "--select", "*")
    with children(dagster_lake.source, dagster_lake.settings, tmp_path) as processes:
        killed = processes.start(*command, DAGSTER_HOME=str(home), CDC_CRASH_AT=point)
        assert killed.ended() == -signal.SIGKILL, killed.output
        processes.start(*command, DAGSTER_HOME=str(home)).succeeded()
    assert checks_passed(home, dagster_lake.source)
    shopping.assert_followed(dagster_lake)


def checks_passed(home: Path, source: Source) -> bool:
    """Whether every check of the source passed in Dagster's latest run."""
    keys = [
        dg.AssetCheckKey(target_key(source, target, Kind.CURRENT), name)
        for target in source.targets
        for name in (Check.ROW_COUNTS, Check.CONTENT)
    ]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs(limit=1)
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    made = [record.evaluation for record in found.values() if record.run_id == run.run_id]
    return len(made) == len(keys) and all(each is not None and each.passed for each in made)


@pytest.mark.parametrize(("kind", "stored"), PAIRS)
def test_files_without_a_commit_are_ignored_and_their_rows_written_again(
    shopping: Shopping, lake: Lake, processes: Children, kind: Kind, stored: Format
) -> None:
    shopping.burst(3_000)
    if kind is Kind.CURRENT:
        processes.writer("--once", "--kind", "changelog").succeeded()
    table = files(lake, "orders", kind, stored)
    orphans, attempts = set[str](), 0
    while not orphans and (attempts := attempts + 1) <= 10:
        writer = processes.writer("--once", "--table", "orders", "--kind", kind)
        send_at_new_file(writer, table, signal.SIGKILL)
        writer.ended()
        orphans = table.data_files() - table.committed_files()
        shopping.burst()
    print(f"{kind}: {attempts} kills for {len(orphans)} orphans")
    assert orphans, "no kill came between data files and commit"
    processes.writer("--once").succeeded()
    shopping.assert_followed(lake)
    assert orphans <= table.data_files()
    assert not orphans & table.read_files()


def send_at_new_file(writer: Child, table: TableFiles, sent: signal.Signals) -> None:
    """Signal the writer once there is a new data file. Looks without a pause: the commit follows at once."""
    known = table.data_files()
    while writer.alive:
        if table.data_files() - known:
            writer.send(sent)
            return


def holds_catalog(lake: Lake) -> bool:
    """Whether a process was stopped just when it had the embedded catalog locked, if only to read it: nobody
    overtakes it then, nothing is committed until it goes on or dies."""
    with closing(sqlite3.connect(lake.settings.lake_root / "iceberg" / "catalog.db", timeout=1)) as catalog:
        try:
            catalog.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        catalog.rollback()
    return False


@pytest.fixture
def overtaken(shopping: Shopping, lake: Lake, processes: Children) -> Callable[..., Child]:
    """Stops a writer at a point of its work, lets another one overtake it, and lets it go on to its end."""

    def zombie(point: str, *options: str) -> Child:
        processes.writer("--once").succeeded()
        for _ in range(10):
            shopping.burst()
            writer = processes.writer("--once", "--table", "orders", "--stop-at", point, *options)
            writer.stopped()
            if not holds_catalog(lake):
                break
            writer.kill()
        shopping.burst()
        winner = processes.writer("--once", "--table", "orders").succeeded()
        assert winner.commits()[Kind.CURRENT]
        writer.send(signal.SIGCONT)
        writer.ended()
        return writer

    return zombie


@pytest.mark.parametrize("kind", Kind)
def test_a_stopped_writer_that_wakes_up_before_its_commit_loses(
    shopping: Shopping, lake: Lake, overtaken: Callable[..., Child], kind: Kind
) -> None:
    zombie = overtaken(f"before_commit:{kind}")
    assert {event["error"] for event in zombie.succeeded().events("retry")} == {"Conflict"}
    shopping.assert_followed(lake)


@pytest.mark.parametrize(("kind", "stored"), PAIRS)
def test_a_stopped_writer_that_wakes_up_with_its_files_written_loses(
    shopping: Shopping, lake: Lake, processes: Children, kind: Kind, stored: Format
) -> None:
    table = files(lake, "orders", kind, stored)
    zombie, orphans, attempts = None, set[str](), 0
    while not orphans and (attempts := attempts + 1) <= 10:
        if zombie:
            zombie.kill()
        shopping.burst()
        zombie = processes.writer("--once", "--table", "orders")
        send_at_new_file(zombie, table, signal.SIGSTOP)
        zombie.stopped()
        orphans = set() if holds_catalog(lake) else table.data_files() - table.committed_files()
    assert zombie
    assert orphans, "no stop came between data files and commit"
    print(f"{kind}: {attempts} stops for {len(orphans)} files without a commit")
    shopping.burst()
    processes.writer("--once", "--table", "orders").succeeded()
    zombie.send(signal.SIGCONT)
    assert {event["error"] for event in zombie.succeeded().events("retry")} == {"Conflict"}
    shopping.assert_followed(lake)


def test_a_stopped_writer_that_wakes_up_after_reading_finds_its_work_done(
    shopping: Shopping, lake: Lake, overtaken: Callable[..., Child]
) -> None:
    zombie = overtaken("after_read")
    assert not zombie.succeeded().events("retry")
    shopping.assert_followed(lake)


def test_a_writer_that_opens_the_table_again_before_writing_doubles_rows(
    shopping: Shopping, lake: Lake, overtaken: Callable[..., Child]
) -> None:
    overtaken("before_commit:changelog", "--fault", "reopening")
    changelogs = [files(lake, "orders", Kind.CHANGELOG, stored) for stored in Format]
    assert any(changelog_difference(lake, "orders", stored).doubled for stored in Format)
    assert any(oracle.steps_back(changelog) for changelog in changelogs)
    with pytest.raises(AssertionError):
        shopping.assert_followed(lake)


def test_a_writer_that_opens_the_current_table_again_takes_it_back(
    shopping: Shopping, lake: Lake, overtaken: Callable[..., Child]
) -> None:
    overtaken("before_commit:current", "--fault", "reopening")
    assert any(oracle.steps_back(files(lake, "orders", Kind.CURRENT, stored)) for stored in Format)
    with pytest.raises(AssertionError, match="went back"):
        shopping.assert_followed(lake)


def test_a_writer_killed_between_its_rows_and_their_offsets_doubles_rows(
    shopping: Shopping, lake: Lake, processes: Children
) -> None:
    killed = processes.writer("--once", "--table", "orders", "--fault", "splitting")
    assert killed.ended() == -signal.SIGKILL, killed.output
    with pytest.raises(AssertionError, match="doubled"):
        shopping.assert_followed(lake)


def test_a_writer_that_moves_its_offsets_past_a_row_loses_it(
    shopping: Shopping, lake: Lake, processes: Children
) -> None:
    processes.writer("--once", "--fault", "losing").succeeded()
    assert changelog_difference(lake, "orders").missing
    with pytest.raises(AssertionError):
        shopping.assert_followed(lake)


def changelog_difference(lake: Lake, collection: str, stored: Format = Format.DELTA) -> oracle.Difference:
    expected = oracle.delivered(lake.settings.kafka_bootstrap, lake.source.topic(collection))
    return oracle.difference(expected, oracle.held(files(lake, collection, Kind.CHANGELOG, stored)))


def test_two_writers_at_once_share_the_work_without_a_failure(
    shopping: Shopping, lake: Lake, processes: Children
) -> None:
    first, second = processes.writer(), processes.writer()
    with shopping.open(RATE) as done:
        first.when(lambda: all(first.commits()[kind] >= 5 for kind in Kind))
        second.when(lambda: all(second.commits()[kind] >= 5 for kind in Kind))
        first.when(lambda: bool(first.events("retry") or second.events("retry")))
        first.kill()
        told = second.commits()
        second.when(lambda: all(second.commits()[kind] > told[kind] for kind in Kind))
    second.send(signal.SIGTERM)
    second.succeeded()
    assert not first.events("failure") + second.events("failure")
    for writer in (first, second):
        print(f"commits {dict(writer.commits())}, conflicts {len(writer.events('retry'))}")
    print(f"{done.total()} changes: {shopping.assert_followed(lake)}")


@pytest.mark.timeout(180 + 15 * KILLS)
def test_random_kills_under_load_lose_and_double_nothing(
    shopping: Shopping, lake: Lake, processes: Children
) -> None:
    chance = random.Random(SEED)
    commits = 0
    with shopping.open(RATE) as done:
        for kill in range(KILLS):
            writer = processes.writer()
            writer.started()
            moment = chance.uniform(0, 2)
            assert writer.outlived(moment), writer.output
            writer.kill()
            told = writer.commits()
            print(f"seed {SEED}, kill {kill}: after {moment:.3f} s and commits {dict(told)}")
            commits += told.total()
    processes.writer("--once").succeeded()
    assert commits > KILLS
    print(f"{KILLS} kills, {commits} commits, {done.total()} changes: {shopping.assert_followed(lake)}")
