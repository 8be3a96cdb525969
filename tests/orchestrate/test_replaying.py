"""What the replay job refuses before it touches anything."""

from pathlib import Path
from typing import Any

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.replaying import ReplayConfig, replay_job

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))
WHOLE = {"table": "orders", "partition": 0, "start_offset": 3, "end_offset": 7}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"end_offset": 3}, "must lie past start_offset"),
        ({"partition": -1}, "greater than or equal to 0"),
        ({"start_offset": -1}, "greater than or equal to 0"),
    ],
)
def test_what_is_no_range_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReplayConfig(**{**WHOLE, **wrong})


def test_an_unknown_table_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    config = {"ops": {"shop_replay": {"config": {**WHOLE, "table": "order"}}}}
    with pytest.raises(Terminal, match="no table order") as refused:
        replay_job(SOURCE, Settings(state_dir=tmp_path)).execute_in_process(config)
    assert "did you mean orders?" in refused.value.remedy
