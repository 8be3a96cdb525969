from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.shop import Shop


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a lively shop, to be copied."""
    folder = tmp_path_factory.mktemp("shop")
    Shop.lively(folder)
    return folder


@pytest.fixture
def lively(template: Path, tmp_path: Path) -> Shop:
    """A shop whose tables have some commits of every kind of change."""
    return Shop.like(template, tmp_path)
