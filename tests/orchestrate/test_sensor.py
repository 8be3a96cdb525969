"""When the sensor asks for a run, against a real (in-memory) Dagster instance."""

import time

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import MODE_TAG, SOURCE_TAG
from cdc_platform.orchestrate.sensor import decide, resting

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))
SETTINGS = Settings(run_seconds=100)
BEHIND = {"orders": 5, "customers": 0}
CAUGHT_UP = {"orders": 0, "customers": 0}


@pytest.fixture
def instance() -> DagsterInstance:
    return DagsterInstance.ephemeral()


def add_run(instance: DagsterInstance, status: DagsterRunStatus, **tags: str) -> None:
    run = dg.DagsterRun(job_name="any", status=status, tags={SOURCE_TAG: "shop", MODE_TAG: "stay", **tags})
    instance.add_run(run)


def ask(
    instance: DagsterInstance, behind: dict[str, int], tired: set[str], now: float
) -> dg.RunRequest | None:
    return decide(instance, SOURCE, SETTINGS, behind, tired, now)[0]


def test_lag_starts_a_run_of_all_tables_without_their_checks(instance: DagsterInstance) -> None:
    request = ask(instance, BEHIND, set(), time.time())
    assert request is not None
    assert {key.to_user_string() for key in request.asset_selection or ()} == {
        "delta/shop/orders_changes",
        "delta/shop/orders",
        "delta/shop/customers_changes",
        "delta/shop/customers",
    }
    assert request.asset_check_keys == []
    assert request.run_key is None


def test_no_lag_starts_nothing(instance: DagsterInstance) -> None:
    assert ask(instance, CAUGHT_UP, set(), time.time()) is None


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING])
def test_a_run_that_is_coming_is_enough(instance: DagsterInstance, status: DagsterRunStatus) -> None:
    add_run(instance, status)
    assert ask(instance, BEHIND, set(), time.time()) is None


def test_a_young_run_is_left_alone_and_an_old_one_gets_one_successor(instance: DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="any", tags={SOURCE_TAG: "shop", MODE_TAG: "stay"})
    instance.add_run(run)
    with_start(instance, run)
    assert ask(instance, CAUGHT_UP, set(), time.time()) is None
    assert ask(instance, CAUGHT_UP, set(), time.time() + 95) is not None
    add_run(instance, DagsterRunStatus.STARTING)
    assert ask(instance, CAUGHT_UP, set(), time.time() + 95) is None


def with_start(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)


def test_a_table_that_failed_rests_while_the_others_go_on(instance: DagsterInstance) -> None:
    failed = dg.DagsterRun(
        job_name="any", tags={SOURCE_TAG: "shop", MODE_TAG: "stay", "cdc/failed": "orders"}
    )
    instance.add_run(failed)
    with_start(instance, failed)
    instance.report_run_failed(failed)
    now = time.time()
    assert resting(instance, SOURCE, now) == {"orders"}
    assert resting(instance, SOURCE, now + 15) == set()
    assert ask(instance, BEHIND, {"orders"}, now) is None
    request = ask(instance, {"orders": 5, "customers": 1}, {"orders"}, now)
    assert request is not None
    assert {key.path[-1] for key in request.asset_selection or ()} == {"customers_changes", "customers"}


def test_each_failure_in_a_row_doubles_the_rest(instance: DagsterInstance) -> None:
    for _ in range(4):
        failed = dg.DagsterRun(
            job_name="any", tags={SOURCE_TAG: "shop", MODE_TAG: "stay", "cdc/failed": "customers,orders"}
        )
        instance.add_run(failed)
        with_start(instance, failed)
        instance.report_run_failed(failed)
    assert resting(instance, SOURCE, time.time() + 60) == {"orders", "customers"}
    assert resting(instance, SOURCE, time.time() + 90) == set()
