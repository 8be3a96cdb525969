"""Tables are held back and let go on by jobs of their source, run as Dagster runs them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.holding import pause_job, resume_job
from cdc_platform.orchestrate.keys import SOURCE_TAG
from cdc_platform.platform import holds

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


def pause(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    return pause_job(SOURCE, settings).execute_in_process({"ops": {"shop_pause": {"config": config}}})


def resume(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    return resume_job(SOURCE, settings).execute_in_process({"ops": {"shop_resume": {"config": config}}})


def test_named_tables_are_held_back_with_the_reason_and_shown_on_their_assets(settings: Settings) -> None:
    done = pause(settings, tables=["orders"], reason=" the index is rebuilt ")
    held = holds(settings, SOURCE).all()
    assert {name: hold.reason for name, hold in held.items()} == {"orders": "the index is rebuilt"}
    observed = {
        event.asset_observation_data.asset_observation.asset_key.to_user_string()
        for event in done.get_asset_observation_events()
    }
    assert observed == {"delta/shop/orders", "delta/shop/orders_changes"}


def test_without_names_all_tables_are_meant(settings: Settings) -> None:
    pause(settings, reason="the disk is changed")
    assert set(holds(settings, SOURCE).all()) == {"orders", "customers"}
    resume(settings)
    assert not holds(settings, SOURCE).all()


def test_resuming_lets_the_named_tables_go_on(settings: Settings) -> None:
    pause(settings, reason="wait")
    resume(settings, tables=["customers"])
    assert set(holds(settings, SOURCE).all()) == {"orders"}


def test_an_unknown_table_is_refused_with_the_known_ones_and_nothing_is_held(settings: Settings) -> None:
    with pytest.raises(Terminal) as refused:
        pause(settings, tables=["orders", "custommers"], reason="wait")
    assert "no table custommers" in refused.value.what
    assert refused.value.remedy == "did you mean customers? its tables are: orders, customers"
    assert not holds(settings, SOURCE).all()


def test_a_hold_says_why(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="say why"):
        pause(settings, reason="  ")


def test_the_jobs_belong_to_their_source(settings: Settings) -> None:
    for job in (pause_job(SOURCE, settings), resume_job(SOURCE, settings)):
        assert job.tags[SOURCE_TAG] == "shop"
        assert job.name.endswith("_shop")
