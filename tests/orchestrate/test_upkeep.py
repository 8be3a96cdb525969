"""The upkeep of a source, run as Dagster runs it, on real tables."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.upkeep import upkeep_job
from cdc_platform.platform import holds, lake_table, utc_now
from tests.lake.rows import frame, row

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(state_dir=tmp_path, lake_root=tmp_path / "lake")
    for name in SOURCE.collections:
        table = lake_table(settings, SOURCE, name, Kind.CHANGELOG)
        stream = Stream("cluster", SOURCE.topic(name), "id", 1)
        for offset in range(5):
            rows = frame([row(0, offset, f"k{offset}")])
            table.append(table.open(stream), rows, {0: Range(offset, offset + 1)}, {})
    return settings


def keep_up(settings: Settings, *, raises: bool = True, **config: Any) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"shop_upkeep": {"config": config}}}
    return upkeep_job(SOURCE, settings).execute_in_process(run_config, raise_on_error=raises)


def done(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    found = {}
    for event in result.get_asset_observation_events():
        seen = event.asset_observation_data.asset_observation
        found[seen.asset_key.path[-1]] = {name: value.value for name, value in seen.metadata.items()}
    return found


def test_all_tables_are_compacted_and_vacuumed_and_those_that_are_not_there_left_out(
    settings: Settings,
) -> None:
    wanted = {"cdc/files_before": 5, "cdc/files_after": 1, "cdc/files_removed": 0}
    assert done(keep_up(settings)) == {"orders_changes": wanted, "customers_changes": wanted}


def test_each_part_can_be_had_alone_and_for_some_tables(settings: Settings) -> None:
    assert done(keep_up(settings, tables=["orders"], vacuum=False)) == {
        "orders_changes": {"cdc/files_before": 5, "cdc/files_after": 1}
    }
    assert done(keep_up(settings, tables=["orders"], compact=False)) == {
        "orders_changes": {"cdc/files_removed": 0}
    }


def test_a_held_table_is_left_as_it_is(settings: Settings) -> None:
    holds(settings, SOURCE).hold("orders", "being repaired", utc_now())
    assert set(done(keep_up(settings))) == {"customers_changes"}


def test_a_table_that_cannot_be_kept_up_fails_the_run_by_name_after_the_others(settings: Settings) -> None:
    broken = Path(lake_table(settings, SOURCE, "orders", Kind.CHANGELOG).uri)
    next((broken / "_delta_log").glob("*0.json")).write_text("{")
    result = keep_up(settings, raises=False)
    assert not result.success
    assert set(done(result)) == {"customers_changes"}
    [failed] = [event for event in result.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None
    assert (said.description or "").startswith("orders (changelog): the table could not be kept up")
