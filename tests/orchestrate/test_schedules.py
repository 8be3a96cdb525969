"""A source's upkeep runs when its declaration says so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from cdc_platform.core.source import Source
from cdc_platform.core.upkeep import Schedules
from cdc_platform.orchestrate.component import CdcSource
from cdc_platform.orchestrate.keys import SOURCE_TAG


def repository(**declared: Any) -> dg.RepositoryDefinition:
    source = Source(
        name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders",), **declared
    )
    return CdcSource(source).build_defs(None).get_repository_def()


def test_compaction_vacuum_proof_and_retention_are_on_from_the_start() -> None:
    found = {each.name: each for each in repository().schedule_defs}
    assert {name: each.job_name for name, each in found.items()} == {
        "compact_shop_schedule": "upkeep_shop",
        "vacuum_shop_schedule": "upkeep_shop",
        "verify_shop_schedule": "verify_shop",
        "retention_shop_schedule": "retention_shop",
    }
    assert {each.default_status for each in found.values()} == {dg.DefaultScheduleStatus.RUNNING}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_table_that_has_changed_is_proven_when_its_time_has_come_and_no_other(
    instance: dg.DagsterInstance,
) -> None:
    source = Source(
        name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders", "customers")
    )
    definitions = CdcSource(source).build_defs(None)
    began = datetime(2026, 11, 1, 12, 1, tzinfo=UTC)
    cursor = None

    def asked(minutes: int) -> set[str]:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(
            definitions,
            instance,
            asset_selection=dg.AssetSelection.all_asset_checks(),
            cursor=cursor,
            evaluation_time=began + timedelta(minutes=minutes),
        )
        cursor = found.cursor
        return {each.key.to_user_string() for each in found.results if each.true_subset.size}

    proof = {"delta/shop/orders:content", "delta/shop/orders:row_counts"}
    assert asked(0) == set()
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["delta", "shop", "orders"])))
    assert asked(5) == set()
    assert asked(15) == proof
    assert asked(16) == set()
    assert asked(30) == set()
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["delta", "shop", "orders"])))
    assert asked(31) == proof


def test_proofs_in_between_may_be_left_out() -> None:
    shop = repository(schedules=Schedules(prove=None))
    assert not shop.has_sensor_def("prove_shop")
    assert repository().get_sensor_def("prove_shop").default_status is dg.DefaultSensorStatus.RUNNING


def test_rows_are_reconciled_on_a_schedule_only_if_that_is_declared() -> None:
    found = {each.name: each for each in repository(schedules={"reconcile": "0 5 * * 0"}).schedule_defs}
    assert found["reconcile_shop_schedule"].job_name == "reconcile_shop"


def test_the_declaration_moves_a_schedule_or_leaves_it_out() -> None:
    declared = Schedules(compact="*/5 * * * *", verify=None, timezone="Europe/Berlin")
    found = {each.name: each for each in repository(schedules=declared).schedule_defs}
    assert "verify_shop_schedule" not in found
    assert found["compact_shop_schedule"].cron_schedule == "*/5 * * * *"
    assert found["compact_shop_schedule"].execution_timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("compact", {"compact": True, "vacuum": False}),
        ("vacuum", {"compact": False, "vacuum": True}),
    ],
)
def test_a_scheduled_upkeep_does_its_part_and_is_the_sources(name: str, wanted: dict[str, bool]) -> None:
    shop = repository()
    schedule = shop.get_schedule_def(f"{name}_shop_schedule")
    [request] = schedule.evaluate_tick(dg.build_schedule_context()).run_requests or []
    assert request.run_config == {"ops": {"shop_upkeep": {"config": wanted}}}
    assert request.tags[SOURCE_TAG] == "shop"
    dg.validate_run_config(shop.get_job("upkeep_shop"), request.run_config)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("compact", "every hour", "pattern"),
        ("compact", "* * * *", "pattern"),
        ("compact", "60 * * * *", "pattern"),
        ("compact", "0 24 * * *", "pattern"),
        ("compact", "0 0 32 * *", "pattern"),
        ("timezone", "Berlin", "no time zone"),
        ("tidy", "@daily", "Extra inputs"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(field: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        Schedules.model_validate({field: value})
    assert refused.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(
    "cron", ["@daily", "0 0 * * *", "*/15 * * * *", "0,30 8-18 * * mon-fri", "5 4 1 jan 0", "09 03 01 01 7"]
)
def test_what_is_accepted_dagster_takes(cron: str) -> None:
    found = repository(schedules=Schedules(compact=cron)).get_schedule_def("compact_shop_schedule")
    assert found.cron_schedule == cron
