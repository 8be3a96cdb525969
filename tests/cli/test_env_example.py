"""``.env.example`` is the settings classes, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from cdc_platform.core.settings import Settings
from cdc_platform.local.settings import StackSettings
from cdc_platform.logs import LogSettings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
KINDS = (Settings, StackSettings, LogSettings)
BESIDES = {"CDC_DEBUG", "SHOP_MONGODB_URI", "BILLING_POSTGRESQL_URI", "STOCK_MARIADB_URI"}
"""Read elsewhere: by the command's frame, and by the declared sources."""


def shown() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def names(settings: type[BaseSettings]) -> dict[str, str]:
    return {f"CDC_{name.upper()}": name for name in settings.model_fields}


def test_every_setting_is_shown_and_nothing_else() -> None:
    assert set(shown()) == {name for kind in KINDS for name in names(kind)} | BESIDES


@pytest.mark.parametrize("settings", KINDS)
def test_every_value_shown_is_the_default(settings: type[BaseSettings]) -> None:
    for variable, name in names(settings).items():
        default = settings.model_fields[name].default
        if default is not PydanticUndefined:
            given = settings.model_validate({name: shown()[variable]})
            assert getattr(given, name) == default, variable


def test_every_setting_has_a_comment_above_it() -> None:
    for block in EXAMPLE.read_text().split("\n\n"):
        assert block.startswith("# "), block


def test_a_copy_of_it_changes_nothing() -> None:
    assert all(line.startswith("#") for line in EXAMPLE.read_text().splitlines() if line)
