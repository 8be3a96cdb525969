"""A source's upkeep runs when its declaration says so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
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


class Daemon:
    """Evaluates the automation conditions of a source of two collections, at minutes after 12:00."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        source = Source(
            name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders", "customers")
        )
        self._definitions = CdcSource(source).build_defs(None)
        self._instance = instance
        self._cursor: Any = None

    def asks(self, minute: int) -> set[str]:
        """The checks that it asks for."""
        found = dg.evaluate_automation_conditions(
            self._definitions,
            self._instance,
            asset_selection=dg.AssetSelection.all_asset_checks(),
            cursor=self._cursor,
            evaluation_time=NOON + timedelta(minutes=minute),
        )
        self._cursor = found.cursor
        return {each.key.to_user_string() for each in found.results if each.true_subset.size}

    def hears_of_a_commit(self, minute: int) -> None:
        told = StepMaterializationData(dg.AssetMaterialization(ORDERS))
        self._hears(
            DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION.value, RUNLESS_JOB_NAME, event_specific_data=told
            ),
            minute,
        )

    def hears_of_a_proof(self, minute: int) -> None:
        for check in ("content", "row_counts"):
            told = dg.AssetCheckEvaluation(asset_key=ORDERS, check_name=check, passed=True, metadata={})
            self._hears(
                DagsterEvent(
                    DagsterEventType.ASSET_CHECK_EVALUATION.value, RUNLESS_JOB_NAME, event_specific_data=told
                ),
                minute,
            )

    def _hears(self, event: DagsterEvent, minute: int) -> None:
        then = NOON + timedelta(minutes=minute)
        self._instance.report_dagster_event(event, RUNLESS_RUN_ID, timestamp=then.timestamp())


NOON = datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)
ORDERS = dg.AssetKey(["delta", "shop", "orders"])
PROOF = {"delta/shop/orders:content", "delta/shop/orders:row_counts"}


@pytest.fixture
def daemon(instance: dg.DagsterInstance) -> Daemon:
    return Daemon(instance)


def test_a_table_that_has_changed_is_proven_when_its_time_has_come_and_no_other(daemon: Daemon) -> None:
    assert daemon.asks(1) == set()
    daemon.hears_of_a_commit(2)
    assert daemon.asks(6) == set()
    assert daemon.asks(16) == PROOF
    assert daemon.asks(17) == set()
    assert daemon.asks(31) == set()
    daemon.hears_of_a_commit(32)
    assert daemon.asks(33) == PROOF


def test_a_table_is_proven_once_more_if_it_changed_while_it_was_proven(daemon: Daemon) -> None:
    assert daemon.asks(1) == set()
    daemon.hears_of_a_commit(2)
    assert daemon.asks(16) == PROOF
    daemon.hears_of_a_commit(17)
    assert daemon.asks(18) == set()
    daemon.hears_of_a_proof(19)
    assert daemon.asks(20) == set()
    assert daemon.asks(31) == PROOF
    daemon.hears_of_a_proof(32)
    assert daemon.asks(46) == set()


def test_what_was_committed_between_the_look_and_the_proof_that_it_led_to_is_not_forgotten(
    daemon: Daemon,
) -> None:
    assert daemon.asks(1) == set()
    daemon.hears_of_a_commit(2)
    assert daemon.asks(16) == PROOF
    daemon.hears_of_a_commit(17)
    daemon.hears_of_a_proof(18)
    assert daemon.asks(19) == set()
    assert daemon.asks(31) == PROOF


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
