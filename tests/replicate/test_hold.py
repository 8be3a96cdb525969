"""Tables held back by an operator."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cdc_platform.replicate.hold import Holds

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)


def test_a_held_table_is_held_for_everyone_who_looks(tmp_path: Path) -> None:
    made = Holds(tmp_path / "shop").hold("orders.eu/é", "moving the disk", NOW)
    assert Holds(tmp_path / "shop").held("orders.eu/é") == made
    assert Holds(tmp_path / "shop").all() == {"orders.eu/é": made}
    assert Holds(tmp_path / "shop").held("customers") is None


def test_the_first_reason_stays_until_the_release(tmp_path: Path) -> None:
    held = Holds(tmp_path)
    first = held.hold("orders", "first", NOW)
    assert held.hold("orders", "second", LATER) == first
    assert held.release("orders")
    assert held.hold("orders", "second", LATER).reason == "second"


def test_releasing_what_is_not_held_says_so(tmp_path: Path) -> None:
    assert not Holds(tmp_path / "nothing").release("orders")
    assert Holds(tmp_path / "nothing").all() == {}
