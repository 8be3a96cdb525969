from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.damage.lake import Lake


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where the lake lies, and a copy of it as it was."""
    folder = tmp_path_factory.mktemp("damaged")
    Lake.live(folder / "lake")
    shutil.copytree(folder / "lake", folder / "template")
    return folder / "lake", folder / "template"


@pytest.fixture
def lake(places: tuple[Path, Path]) -> Lake:
    """Healthy, with a past; its checks have passed before its last changes."""
    return Lake.again(*places)
