"""When what a connector tells means that a signal's reading has ended. On real ones: tests/stack."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source
from cdc_platform.decode.notification import Notification
from cdc_platform.operate.rereading import has_ended

OURS, ANOTHER = "ours", "another"


def told(*what: tuple[str, str] | tuple[str, str, dict[str, str]]) -> bool:
    given: dict[str, Any] = {"name": "shop", "uri": "mongodb://db/?replicaSet=rs0", "database": "shop"}
    source = Source.model_validate({**given, "collections": ("orders",)})
    found = [Notification(each[0], each[1], each[2] if len(each) > 2 else {}) for each in what]
    return has_ended(iter(found), OURS, source)


def test_a_reading_ends_with_its_completion() -> None:
    assert told((OURS, "STARTED"), (OURS, "TABLE_SCAN_COMPLETED", {"status": "EMPTY"}), (OURS, "COMPLETED"))
    assert not told((OURS, "STARTED"), (OURS, "IN_PROGRESS"))


def test_the_end_of_another_reading_is_not_ours_unless_ours_was_taken_along() -> None:
    assert not told((ANOTHER, "STARTED"), (ANOTHER, "COMPLETED"))
    assert not told((ANOTHER, "COMPLETED"), (OURS, "STARTED"))
    assert told((ANOTHER, "STARTED"), (OURS, "IN_PROGRESS"), (OURS, "COMPLETED"))
    assert told((OURS, "STARTED"), (ANOTHER, "IN_PROGRESS"), (ANOTHER, "COMPLETED"))


@pytest.mark.parametrize(
    ("kind", "details", "why"),
    [
        ("ABORTED", {}, "stopped the connector's reading"),
        (
            "TABLE_SCAN_COMPLETED",
            {"status": "SQL_EXCEPTION", "scanned_collection": "shop.orders"},
            "could not read shop.orders: SQL_EXCEPTION",
        ),
        ("TABLE_SCAN_COMPLETED", {"status": "UNKNOWN_SCHEMA"}, "UNKNOWN_SCHEMA"),
    ],
)
def test_a_reading_that_was_stopped_or_failed_is_told_with_the_reason(
    kind: str, details: dict[str, str], why: str
) -> None:
    with pytest.raises(Terminal, match=why):
        told((OURS, "STARTED"), (OURS, kind, details), (OURS, "COMPLETED"))
