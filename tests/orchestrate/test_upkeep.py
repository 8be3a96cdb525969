"""The upkeep of a source, run as Dagster runs it, on real tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.upkeep import upkeep_job
from cdc_platform.platform import holds, lake_table, letters_table, utc_now
from tests.lake.rows import frame, row

SOURCE = Source(
    name="shop",
    uri="mongodb://nowhere",
    database="shop",
    collections=("orders", "customers"),
    formats=(Format.DELTA, Format.ICEBERG),
    collection_formats={"customers": (Format.DELTA,)},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(state_dir=tmp_path, lake_root=tmp_path / "lake")
    for name in SOURCE.collections:
        stream = Stream("cluster", SOURCE.topic(name), "id", 1)
        for stored in SOURCE.formats_of(name):
            table = lake_table(settings, SOURCE, name, Kind.CHANGELOG, stored)
            for offset in range(5):
                rows = frame([row(0, offset, f"k{offset}")])
                table.append(table.open(stream), rows, {0: Range(offset, offset + 1)}, {})
    letters_table(settings, SOURCE, "orders").open(Stream("cluster", SOURCE.topic("orders"), "id", 1))
    return settings


@dataclass(frozen=True)
class Done:
    """``seen``: what was observed of each table, also by a run that failed in the end."""

    result: dg.ExecuteInProcessResult
    seen: dict[str, dict[str, Any]]


def keep_up(settings: Settings, *, raises: bool = True, **config: Any) -> Done:
    run_config = {"ops": {"shop_upkeep": {"config": config}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = upkeep_job(SOURCE, settings)
        result = job.execute_in_process(run_config, instance=instance, raise_on_error=raises)
        logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    seen = {}
    for entry in logged:
        observation = entry.asset_observation
        assert observation is not None
        seen["/".join(observation.asset_key.path)] = {
            name: value.value for name, value in observation.metadata.items()
        }
    return Done(result, seen)


def test_all_tables_are_compacted_and_vacuumed_and_those_that_are_not_there_left_out(
    settings: Settings,
) -> None:
    wanted = {"cdc/files_before": 5, "cdc/files_after": 1, "cdc/files_removed": 0}
    assert keep_up(settings).seen == {
        "delta/shop/orders_changes": wanted,
        "iceberg/shop/orders_changes": wanted,
        "delta/shop/customers_changes": wanted,
    }


def test_each_part_can_be_had_alone_and_for_some_tables(settings: Settings) -> None:
    tables = ("delta/shop/orders_changes", "iceberg/shop/orders_changes")
    compacted = {"cdc/files_before": 5, "cdc/files_after": 1}
    assert keep_up(settings, tables=["orders"], vacuum=False).seen == dict.fromkeys(tables, compacted)
    cleaned = {"cdc/files_removed": 0}
    assert keep_up(settings, tables=["orders"], compact=False).seen == dict.fromkeys(tables, cleaned)


def test_dead_letters_are_kept_up_too(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    keep_up(settings, tables=["orders"])
    assert "orders (dead letters, delta): cdc/files_before 0, cdc/files_after 0" in capfd.readouterr().err


def test_a_held_table_is_left_as_it_is(settings: Settings) -> None:
    holds(settings, SOURCE).hold("orders", "being repaired", utc_now())
    assert set(keep_up(settings).seen) == {"delta/shop/customers_changes"}


def test_a_table_that_cannot_be_kept_up_fails_the_run_by_name_after_the_others(settings: Settings) -> None:
    broken = Path(lake_table(settings, SOURCE, "orders", Kind.CHANGELOG).uri)
    next((broken / "_delta_log").glob("*0.json")).write_text("{")
    done = keep_up(settings, raises=False)
    assert not done.result.success
    assert set(done.seen) == {"iceberg/shop/orders_changes", "delta/shop/customers_changes"}
    [failed] = [event for event in done.result.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None
    assert (said.description or "").startswith("orders (changelog, delta): the table could not be kept up")
