"""What the sensor learns from Dagster: runs that go on, tables that rest. A real instance, in memory."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.failed import failures, remember, resting
from cdc_platform.orchestrate.keys import ALSO_TAG, MODE_TAG, SOURCE_TAG, lake_key
from cdc_platform.orchestrate.running import working
from cdc_platform.orchestrate.sensor import run_requests
from cdc_platform.replicate.fence import fence

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))
ORDERS, CUSTOMERS = SOURCE.targets
STARTED, SUCCEEDED = dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, run_seconds=100)


def add_run(
    instance: DagsterInstance, *tables: str, status: DagsterRunStatus = DagsterRunStatus.NOT_STARTED
) -> dg.DagsterRun:
    keys = frozenset(lake_key(SOURCE, name, kind) for name in tables for kind in Kind)
    run = dg.DagsterRun(
        job_name="any",
        status=status,
        tags={SOURCE_TAG: "shop", MODE_TAG: "stay"},
        asset_selection=keys or None,
    )
    return instance.add_run(run)


def tell(instance: DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
    instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)


def end(instance: DagsterInstance, run: dg.DagsterRun, *failed: str, fails: bool = False) -> None:
    tell(instance, run, STARTED)
    for name in failed:
        remember(instance, run.run_id, Target(name, Format.DELTA), datetime.now(UTC))
    if failed or fails:
        instance.report_run_failed(run)
    else:
        tell(instance, run, SUCCEEDED)


def rested(instance: DagsterInstance, after: float = 0) -> set[Target]:
    return set(resting(instance, SOURCE, time.time() + after))


def test_a_table_that_failed_rests_and_the_others_do_not(instance: DagsterInstance) -> None:
    end(instance, add_run(instance), "orders")
    assert rested(instance) == {ORDERS}
    assert rested(instance, after=15) == set()


def test_it_rests_already_while_the_run_it_failed_in_goes_on(instance: DagsterInstance) -> None:
    run = add_run(instance)
    tell(instance, run, STARTED)
    remember(instance, run.run_id, ORDERS, datetime.now(UTC))
    assert rested(instance) == {ORDERS}


def test_each_failure_in_a_row_doubles_the_rest(instance: DagsterInstance) -> None:
    for _ in range(4):
        end(instance, add_run(instance), "customers", "orders")
    assert rested(instance, after=60) == {ORDERS, CUSTOMERS}
    assert rested(instance, after=90) == set()


def test_a_run_without_the_table_does_not_end_its_row_of_failures(instance: DagsterInstance) -> None:
    for _ in range(4):
        end(instance, add_run(instance), "orders")
        end(instance, add_run(instance, "customers"))
    assert rested(instance, after=60) == {ORDERS}


def test_a_run_in_which_the_table_did_well_ends_its_row_of_failures(instance: DagsterInstance) -> None:
    end(instance, add_run(instance), "orders")
    end(instance, add_run(instance))
    assert rested(instance) == set()


def test_a_run_that_failed_as_a_whole_makes_all_its_tables_rest(instance: DagsterInstance) -> None:
    end(instance, add_run(instance), fails=True)
    assert rested(instance) == {ORDERS, CUSTOMERS}


def test_a_failure_is_kept_with_its_time_and_only_the_first_of_a_table(instance: DagsterInstance) -> None:
    run = add_run(instance)
    first = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    remember(instance, run.run_id, ORDERS, first)
    remember(instance, run.run_id, ORDERS, datetime.now(UTC))
    remember(instance, run.run_id, Target("a-b.c", Format.ICEBERG), first)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert failures(found) == {Target("a-b.c", Format.ICEBERG): first, ORDERS: first}


def test_a_run_drains_its_tables_but_those_that_failed_in_it(
    instance: DagsterInstance, settings: Settings
) -> None:
    run = add_run(instance)
    tell(instance, run, STARTED)
    remember(instance, run.run_id, ORDERS, datetime.now(UTC))
    [found] = working(instance, SOURCE, settings, time.time())
    assert found.targets == {CUSTOMERS}
    assert found.started == pytest.approx(time.time(), abs=5)


def test_runs_of_another_source_and_one_shot_runs_are_not_this_sources_staying_runs(
    instance: DagsterInstance, settings: Settings
) -> None:
    instance.add_run(dg.DagsterRun(job_name="any", tags={SOURCE_TAG: "shop"}))
    instance.add_run(dg.DagsterRun(job_name="any", tags={SOURCE_TAG: "crm", MODE_TAG: "stay"}))
    assert working(instance, SOURCE, settings, time.time()) == []


def test_a_run_whose_process_is_gone_is_ended_and_left_out(
    instance: DagsterInstance, settings: Settings
) -> None:
    run = add_run(instance)
    tell(instance, run, STARTED)
    waited: list[float] = []
    assert len(working(instance, SOURCE, settings, time.time(), waited.append)) == 1
    assert working(instance, SOURCE, settings, time.time() + 61, waited.append) == []
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is DagsterRunStatus.FAILURE
    assert len(waited) == 1


def test_a_run_past_the_fence_is_not_gone_however_long_it_stays(
    instance: DagsterInstance, settings: Settings
) -> None:
    tell(instance, add_run(instance), STARTED)
    with fence(settings, SOURCE):
        assert len(working(instance, SOURCE, settings, time.time() + 3_600)) == 1


def test_a_run_that_ends_meanwhile_is_not_called_gone(instance: DagsterInstance, settings: Settings) -> None:
    run = add_run(instance)
    tell(instance, run, STARTED)

    def ends(_seconds: float) -> None:
        tell(instance, run, SUCCEEDED)

    assert working(instance, SOURCE, settings, time.time() + 61, ends) == []
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is DagsterRunStatus.SUCCESS


def test_a_table_found_after_the_definitions_were_read_goes_along_by_its_name(
    instance: DagsterInstance, settings: Settings
) -> None:
    new = [Target(name, Format.DELTA) for name in ("audit_1", "audit_2")]
    [request] = run_requests(SOURCE, (ORDERS, *new))
    selected = {key.path[-1] for key in request.asset_selection or ()}
    assert selected == {"orders", "orders_changes"}
    assert request.tags[ALSO_TAG] == "audit_1,audit_2"
    assert request.asset_check_keys == []
    assert request.run_key is None

    run = add_run(instance, "orders")
    instance.add_run_tags(run.run_id, {ALSO_TAG: "audit_1,audit_2"})
    tell(instance, run, STARTED)
    grown = SOURCE.model_copy(update={"collections": ("orders", "customers", "audit_1", "audit_3")})
    [found] = working(instance, grown, settings, time.time())
    assert found.targets == {ORDERS, Target("audit_1", Format.DELTA)}


def test_without_any_table_in_the_definitions_there_is_nothing_to_start() -> None:
    assert run_requests(SOURCE, (Target("audit_1", Format.DELTA),)) == []


BOTH = Source(
    name="shop",
    uri="mongodb://nowhere",
    database="shop",
    collections=("orders", "customers"),
    formats=(Format.DELTA, Format.ICEBERG),
    collection_formats={"customers": (Format.ICEBERG,)},
)


def test_a_format_that_failed_rests_and_the_other_does_not(instance: DagsterInstance) -> None:
    run = add_run(instance)
    tell(instance, run, STARTED)
    remember(instance, run.run_id, Target("orders", Format.ICEBERG), datetime.now(UTC))
    assert set(resting(instance, BOTH, time.time())) == {Target("orders", Format.ICEBERG)}


def test_a_run_fills_the_formats_that_it_is_asked_for() -> None:
    [request] = run_requests(BOTH, BOTH.targets)
    assert {key.to_user_string() for key in request.asset_selection or ()} == {
        *("delta/shop/orders", "delta/shop/orders_changes"),
        *("iceberg/shop/orders", "iceberg/shop/orders_changes"),
        *("iceberg/shop/customers", "iceberg/shop/customers_changes"),
    }
