"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
FOLDERS = ("cdc_platform", "tests", "docs", "compose", "bench", ".github", ".ci")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    quoted = [name for name in re.findall(r"`([\w./-]+)`", text) if name.split("/")[0] in FOLDERS]
    linked = re.findall(r"\]\(([\w./-]+)\)", text)

    assert [name for name in (*quoted, *linked) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_a_document_names_is_one_of_the_makefile(document: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", (ROOT / document).read_text(), re.MULTILINE))

    assert named
    assert named - targets == set()
