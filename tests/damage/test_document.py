"""``docs/proof.md`` says what the damages and the checks are."""

from __future__ import annotations

from cdc_platform.verify.finding import Check
from cdc_platform.verify.verdict import Stage
from tests.damage.document import PAGE, written


def test_the_page_has_the_table_of_the_damages() -> None:
    page = PAGE.read_text()
    assert page == written(page), "python -m tests.damage.document"


def test_the_page_tells_every_check_and_every_hand_over() -> None:
    page = PAGE.read_text()
    assert [check for check in Check if f"`{check}`" not in page] == []
    assert [stage for stage in Stage if stage not in page] == []
