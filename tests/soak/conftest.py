"""Tests that take long: played when asked for (``-m soak``), and not again while nothing has changed.

What a test measured is kept in ``CDC_SOAK_DIR`` (``.cdc/soak``), a file a test, so that an interrupted soak
goes on where it was. Remove the folder to begin anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import orjson
import pytest

from tests.stack.conftest import connect, declare, mongo, stack

__all__ = ["connect", "declare", "mongo", "stack"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / os.environ.get("CDC_SOAK_DIR", ".cdc/soak")
CODE = (
    "cdc_platform/**/*.py",
    "tests/simulation/*.py",
    "tests/soak/*.py",
    "tests/stack/concurrent/*.py",
    "tests/stack/crash/*.py",
)
NUMBERS = re.compile("CDC_SOAK_(?!DIR).*|CDC_SIMULATION_SEEDS|CDC_TEST_SEED")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever else is asked for, it does not mean these."""
    if "soak" not in str(config.option.markexpr):
        mine = [item for item in items if Path(__file__).parent in item.path.parents]
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures are made: no stack is started for a test that is skipped."""
    path = kept(item)
    if path.exists() and (before := orjson.loads(path.read_bytes()))["code"] == code():
        pytest.skip(f"passed with this code: {before}")


@dataclass(slots=True)
class Notes:
    """What a test measured. ``keep`` is its last act: it passed."""

    path: Path
    pytestconfig: pytest.Config
    began: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> float:
        """Seconds."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """A line of progress, whatever pytest captures."""
        capture = self.pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"  {self.passed:6.1f} s  {text}", flush=True)

    def keep(self, **measured: object) -> None:
        told = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": code(),
            "seconds": round(self.passed, 1),
            **measured,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        self.say(f"passed: {measured}")


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> Notes:
    return Notes(kept(request.node), request.config)


def kept(item: pytest.Item) -> Path:
    """Where the notes of a test are."""
    name = re.sub(r"[^\w.-]+", "-", item.name).strip("-")
    return FOLDER / f"{name}.json"


@cache
def code() -> str:
    """Identity of the code that is tested, and of how much is asked for."""
    asked = sorted(each for each in os.environ.items() if NUMBERS.fullmatch(each[0]))
    found = hashlib.sha256(repr(asked).encode())
    for path in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
