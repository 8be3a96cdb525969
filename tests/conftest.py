"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# A busy machine is no failure, and a failing example can be played again from what is printed.
settings.register_profile("tests", deadline=None, print_blob=True)
settings.load_profile("tests")

LONG: Final = (
    *("damage", "lake", "reading", "simulation", "verify"),  # whole tables of both formats, whole programs
    *("cli/test_failures.py", "cli/test_help.py", "cli/test_upkeep.py", "cli/test_verify.py"),
    *("decode/test_corpus_fields.py", "decode/test_documents.py", "decode/test_mongodb.py"),
    *("local/test_process.py", "local/test_s3.py"),
    *("orchestrate/test_checks.py", "orchestrate/test_definitions.py"),
    *("orchestrate/test_retention.py", "orchestrate/test_upkeep.py"),
    *("replicate/test_drain.py", "replicate/test_formats.py"),
    *("replicate/test_resends.py", "replicate/test_undecodable.py"),
)
"""Folders and files whose tests take seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(root)
        if path.parts[0] in LONG or path.as_posix() in LONG:
            item.add_marker("long")
