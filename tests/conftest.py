"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# A busy machine is no failure, and a failing example can be played again from what is printed.
settings.register_profile("tests", deadline=None, print_blob=True)
settings.load_profile("tests")

WITH_TABLES: Final = ("damage", "lake", "reading", "simulation", "verify")
"""Folders whose tests make whole tables of Delta and Iceberg, or play whole programs: seconds each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root).parts[0] in WITH_TABLES:
            item.add_marker("tables")
