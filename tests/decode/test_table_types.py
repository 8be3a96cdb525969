"""``docs/types-of-tables.md`` says what the code does with what Debezium was seen to send."""

from __future__ import annotations

from pathlib import Path

from cdc_platform.decode.table_types import document

DOCUMENT = Path(__file__).parents[2] / "docs" / "types-of-tables.md"


def test_the_document_of_types_is_what_decoding_the_examples_gives() -> None:
    told = "python -m cdc_platform.decode.table_types > docs/types-of-tables.md"
    assert DOCUMENT.read_text() == document(), told
