"""What ``cdc`` says of itself, and how fast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdc_platform.cli.failures import MEANINGS, Exit
from tests.cli.calling import COMMAND, cdc

README = Path(__file__).parents[2] / "README.md"

COMMANDS = [
    *(("stack", name) for name in ("up", "down", "status", "logs", "reset")),
    *(("connector", name) for name in ("apply", "list", "status", "restart", "pause", "resume", "delete")),
    ("run",),
    ("tables",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_of_itself(command: tuple[str, ...]) -> None:
    result = cdc(*command, "--help")

    assert result.exit_code == 0
    assert f"cdc {' '.join(command)}" in result.stdout.partition("Example")[2]


def test_help_and_readme_tell_every_exit_code_with_its_one_meaning() -> None:
    helped, readme = cdc("--help").stdout, README.read_text()

    assert set(MEANINGS) == set(Exit)
    for code, meaning in MEANINGS.items():
        assert f"\n    {code:<4} {meaning}\n" in helped
        assert f"\n| {code:d} | {meaning} |\n" in readme


@pytest.mark.parametrize("group", [(), ("stack",), ("connector",)])
def test_a_group_without_a_command_shows_its_help(group: tuple[str, ...]) -> None:
    result = cdc(*group)

    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_help_imports_nothing_that_takes_time() -> None:
    heavy = "'dagster', 'polars', 'pyarrow', 'deltalake', 'confluent_kafka', 'pydantic', 'pymongo', 'rich'"
    code = f"import sys; import cdc_platform.cli; print([m for m in ({heavy},) if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_help_answers_within_processor_time_of_0_6_s() -> None:
    before = os.times()
    subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
    after = os.times()

    assert (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    ) < 0.6


def test_no_command_ever_needs_dagster() -> None:
    modules = ("draining", "inventory", "sources", "stack", "connector", "run", "tables")
    imports = "; ".join(f"import cdc_platform.cli.{name}" for name in modules)
    code = f"import sys; {imports}; print('dagster' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "False"
