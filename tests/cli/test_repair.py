from __future__ import annotations

from tests.cli.calling import cdc
from tests.cli.conftest import Nowhere


def test_a_table_that_is_held_back_is_not_repaired(nowhere: Nowhere) -> None:
    held = cdc("--sources", nowhere.sources, "pause", "orders", "--reason", "look at it", env=nowhere.env)
    assert held.exit_code == 0, held.output

    result = cdc("--sources", nowhere.sources, "repair", "orders", env=nowhere.env)

    assert result.exit_code == 1
    assert "held back" in result.stderr
    assert "cdc resume orders" in result.stderr


def test_a_table_that_is_not_declared_is_not_repaired(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "repair", "ordres", env=nowhere.env)
    assert result.exit_code == 2
