"""A daemon that nobody asks: it proves by itself what has changed since it last did, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType
from dagster._core.storage.dagster_run import DagsterRun, RunsFilter
from dagster._daemon.asset_daemon import asset_daemon_cursor_to_instigator_serialized_cursor

from cdc_platform.core.model import Limits
from cdc_platform.core.upkeep import Schedules
from cdc_platform.local.stack import Stack
from cdc_platform.orchestrate.component import CdcSource
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.daemon import Daemon, daemon
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack


def proofs(dagster: Daemon) -> list[DagsterRun]:
    """Runs that the automation sensor asked for, the newest first."""
    asked = {"dagster/sensor_name": f"prove_{dagster.lake.source.name}"}
    return list(dagster.instance.get_runs(RunsFilter(tags=asked)))


def evaluated(dagster: Daemon, name: str) -> list[tuple[str, bool]]:
    """Verdicts on a table: check and whether it passed."""
    source, storage = dagster.lake.source.name, dagster.instance.event_log_storage
    found = [
        record.evaluation
        for check in ("content", "row_counts")
        for record in storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(["delta", source, name]), check), limit=10
        )
    ]
    made = [each for each in found if isinstance(each, dg.AssetCheckEvaluation)]  # others are planned
    return [(each.check_name, each.passed) for each in made]


def looked_a_minute_ago(dagster: Daemon) -> None:
    """The sensor's memory of an evaluation before the last minute began, so that no minute is waited for."""
    source = dagster.lake.source
    source = dagster.lake.source
    before = dg.evaluate_automation_conditions(
        CdcSource(source).build_defs(None),
        dagster.instance,
        asset_selection=dg.AssetSelection.all_asset_checks(),
        evaluation_time=datetime.now(UTC) - timedelta(minutes=1),
    )
    cursor = asset_daemon_cursor_to_instigator_serialized_cursor(before.cursor)
    command = ("sensor", "cursor", f"prove_{source.name}", "--set", cursor)
    done = dagster.run(*command, "-f", "tests/project.py", "-d", ".")
    assert done.returncode == 0, done.stderr
    [sensor] = dagster.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    dagster.instance.update_instigator_state(sensor.with_status(InstigatorStatus.RUNNING))


@pytest.mark.timeout(600)  # a loaded machine takes minutes to start the processes
def test_a_daemon_proves_the_table_that_has_changed_by_itself_and_no_other(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    source = declare(
        "changing",
        "resting",
        limits=Limits(current_age=1),
        schedules=Schedules(prove="* * * * *", verify=None, compact=None, vacuum=None, retention=None),
    )
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    database = mongo[source.database]
    for name in source.collections:
        database[name].insert_many([{"_id": n, "n": n} for n in range(20)])
        eventually(lambda name=name: lake.waiting(name) >= 20)
    lake.drain()
    with daemon(lake, looked_a_minute_ago) as dagster:
        database.changing.update_many({"_id": {"$lt": 5}}, {"$inc": {"n": 100}})
        eventually(lambda: bool(evaluated(dagster, "changing")), 300)
        [asked] = proofs(dagster)
        eventually(lambda: dagster.status(asked) is dg.DagsterRunStatus.SUCCESS, 60)
        assert sorted(evaluated(dagster, "changing")) == [("content", True), ("row_counts", True)]
        assert evaluated(dagster, "resting") == []
