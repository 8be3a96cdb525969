"""Old runs leave Dagster, and nothing else does. A real instance on disk."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance

from cdc_platform.core.source import Source
from cdc_platform.core.upkeep import Retention
from cdc_platform.orchestrate.keys import MODE_TAG, SOURCE_TAG
from cdc_platform.orchestrate.retention import forget_runs, retention_job

SOURCE = Source(
    name="shop",
    uri="mongodb://nowhere",
    database="shop",
    collections=("orders",),
    retention=Retention(runs_hours=1, runs_kept=2),
)
KEY = dg.AssetKey(["delta", "shop", "orders"])
LATER = timedelta(seconds=5)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@dg.op
def fill(context: dg.OpExecutionContext) -> None:
    context.log_event(dg.AssetMaterialization(KEY, metadata={"rows": 7}))


@dg.job(tags={SOURCE_TAG: "shop"})
def drain() -> None:
    fill()


@dg.job(tags={SOURCE_TAG: "shop"})
def verify() -> None:
    fill()


def run(instance: DagsterInstance, job: dg.JobDefinition = drain, **tags: str) -> str:
    return job.execute_in_process(instance=instance, tags=tags).run_id


def there(instance: DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_old_runs_go_and_of_each_job_the_newest_stay(instance: DagsterInstance) -> None:
    drains = [run(instance) for _ in range(4)]
    stays = [run(instance, **{MODE_TAG: "stay"}) for _ in range(3)]
    [proof] = [run(instance, verify)]
    assert forget_runs(instance, SOURCE, datetime.now(UTC) + LATER, keep=2) == 3
    assert there(instance) == {*drains[2:], *stays[1:], proof}


def test_young_runs_runs_that_go_on_and_other_sources_stay(instance: DagsterInstance) -> None:
    young = run(instance)
    other = instance.add_run(
        dg.DagsterRun("any", status=dg.DagsterRunStatus.SUCCESS, tags={SOURCE_TAG: "crm"})
    )
    busy = instance.add_run(
        dg.DagsterRun("any", status=dg.DagsterRunStatus.STARTED, tags={SOURCE_TAG: "shop"})
    )
    assert forget_runs(instance, SOURCE, datetime.now(UTC) - timedelta(hours=1), keep=0) == 0
    assert forget_runs(instance, SOURCE, datetime.now(UTC) + LATER, keep=0) == 1
    assert there(instance) == {other.run_id, busy.run_id}
    assert young not in there(instance)


def test_the_latest_materialization_outlives_its_run_and_the_runs_files_go(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    run_id = run(instance)
    assert list(tmp_path.rglob(f"{run_id}*"))
    forget_runs(instance, SOURCE, datetime.now(UTC) + LATER, keep=0)
    assert not list(tmp_path.rglob(f"{run_id}*"))
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows"].value == 7


def test_the_log_stays_bounded_over_many_runs(instance: DagsterInstance, tmp_path: Path) -> None:
    """SQLite keeps the pages of what was removed, and fills them again."""

    def size() -> int:
        return sum(os.stat(path).st_size for path in tmp_path.rglob("*") if path.is_file())

    sizes = []
    for _ in range(3):
        for _ in range(2):
            run(instance)
        forget_runs(instance, SOURCE, datetime.now(UTC) + LATER, keep=2)
        sizes.append(size())
    assert sizes[-1] < sizes[0] * 1.2
    assert len(there(instance)) == 2


def test_the_job_takes_its_bounds_from_the_declaration_or_from_its_configuration(
    instance: DagsterInstance,
) -> None:
    for _ in range(3):
        run(instance)
    job = retention_job(SOURCE)
    assert job.execute_in_process(instance=instance).success
    assert len(there(instance)) == 4
    config = {"ops": {"shop_retention": {"config": {"runs_hours": 0}}}}
    with pytest.raises(Exception, match="greater than or equal to 1"):
        job.execute_in_process(config, instance=instance)
