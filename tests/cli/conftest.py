from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.calling import declare, unused_port


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without the `.env` of whoever runs the tests."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Two declared sources, an empty lake, no stack, and no service at any address."""

    sources: str
    env: dict[str, str]
    folder: Path


@pytest.fixture
def nowhere(tmp_path: Path) -> Nowhere:
    sources = tmp_path / "sources"
    declare(sources, "shop")
    declare(sources, "ledger", collections=["entries"])
    env = {
        "CDC_KAFKA_BOOTSTRAP": f"127.0.0.1:{unused_port()}",
        "CDC_CONNECT_URL": f"http://127.0.0.1:{unused_port()}",
        "CDC_LAKE_ROOT": str(tmp_path / "lake"),
        "CDC_STATE_DIR": str(tmp_path / "state"),
        "CDC_KAFKA_SECONDS": "1",
    }
    return Nowhere(str(sources), env, tmp_path)
