"""What operators do while Dagster drains: pause, resume, replay, stop. One table's trouble is its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from dagster import DagsterRunStatus

from cdc_platform.core.model import Limits
from cdc_platform.local.stack import Stack
from cdc_platform.orchestrate.holding import pause_job, resume_job
from cdc_platform.orchestrate.replaying import replay_job
from cdc_platform.replicate.feed import LOOK_AT_HOLDS
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.daemon import Daemon, daemon
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def deployed(stack: Stack, declare: Declare, root: Path, *collections: str, **settings: Any) -> Lake:
    """Current tables follow within a second."""
    lake = Lake(stack, declare(*collections, limits=Limits(current_age=1), **settings), root)
    lake.deploy()
    return lake


def started(dagster: Daemon, count: int) -> bool:
    runs = dagster.runs()
    return len(runs) == count and dagster.status(runs[0]) is DagsterRunStatus.STARTED


def rows(lake: Lake, name: str) -> int:
    return lake.current(name).height if lake.exists(name) else 0


def materialize(dagster: Daemon, *names: str) -> str:
    """Some current tables, as the command line does it; what it printed."""
    keys = " or ".join(f'key:"delta/{dagster.lake.source.name}/{name}"' for name in names)
    done = dagster.run("asset", "materialize", "-f", "tests/project.py", "--select", keys)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def write(database: Any, name: str, numbers: range) -> None:
    """One change at a time, so that there is always one on its way."""
    for n in numbers:
        database[name].insert_one({"_id": n, "n": n})


def test_a_run_that_is_stopped_finishes_its_commit_and_the_next_one_goes_on(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    lake = deployed(stack, declare, tmp_path, "orders")
    database = mongo[lake.source.database]
    write(database, "orders", range(10))
    with daemon(lake) as dagster:
        eventually(lambda: rows(lake, "orders") == 10, 60)
        [first] = dagster.runs()
        process = dagster.process(first)
        write(database, "orders", range(10, 200))
        process.terminate()
        write(database, "orders", range(200, 250))
        psutil.wait_procs([process], timeout=10)
        eventually(lambda: dagster.status(first) in ENDED)
        assert dagster.status(first) is DagsterRunStatus.SUCCESS

        eventually(lambda: started(dagster, 2), 60)
        write(database, "orders", range(250, 300))
        dagster.instance.run_launcher.terminate(dagster.runs()[0].run_id)
        write(database, "orders", range(300, 350))
        eventually(lambda: dagster.status(dagster.runs()[-2]) in ENDED)
        assert dagster.status(dagster.runs()[-2]) is DagsterRunStatus.CANCELED
        eventually(lambda: rows(lake, "orders") == 350, 60)
    changes = lake.changes("orders")
    assert sorted(changes["n"].to_list()) == list(range(350))
    assert changes.select("_kafka_partition", "_kafka_offset").is_unique().all()


def test_a_failure_a_pause_and_a_replay_of_one_table_hold_no_other_back(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    names = ("failing", "paused", "going")
    lake = deployed(stack, declare, tmp_path, *names, values="refuse")
    database = mongo[lake.source.database]
    for name in names:
        write(database, name, range(5))
    with daemon(lake, run_idle_seconds=90) as dagster:
        eventually(lambda: all(rows(lake, name) == 5 for name in names), 60)

        dagster.execute(pause_job, tables=["paused"], reason="an index is rebuilt")
        time.sleep(3 * LOOK_AT_HOLDS)  # what was read before the run looks again is still committed
        database.failing.insert_one({"_id": 99, "n": "no number"})
        for name in names:
            write(database, name, range(5, 20))
        eventually(lambda: rows(lake, "going") == 20)
        eventually(lambda: "failing@" in dagster.runs()[0].tags.get("cdc/failed", ""))
        write(database, "going", range(20, 30))
        eventually(lambda: rows(lake, "going") == 30)
        assert rows(lake, "paused") == 5
        assert lake.changes("paused").height == 5
        assert "no number" not in lake.changes("failing")["n"].cast(str).to_list()

        said = materialize(dagster, "paused", "going")
        assert "paused is held back since" in said
        assert "an index is rebuilt" in said
        assert "going (delta) content pass" in said

        [partition, offset] = lake.changes("going").select("_kafka_partition", "_kafka_offset").row(0)
        said = dagster.execute(
            replay_job, table="going", partition=partition, start_offset=offset, end_offset=offset + 1
        )
        assert "1 events read again, 0 were missing" in said

        dagster.execute(resume_job, tables=["paused"])
        eventually(lambda: rows(lake, "paused") == 20)
        assert rows(lake, "going") == 30
