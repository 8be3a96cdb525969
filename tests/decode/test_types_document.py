"""``docs/types.md`` says what the code does."""

from __future__ import annotations

from pathlib import Path

from cdc_platform.decode.types import document

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"


def test_the_document_of_types_is_what_decoding_the_examples_gives() -> None:
    assert DOCUMENT.read_text() == document(), "python -m cdc_platform.decode.types > docs/types.md"
