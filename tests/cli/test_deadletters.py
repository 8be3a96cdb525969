"""Dead letters, pauses and replays from the shell, as far as they need no service."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_platform.core.model import Policy
from cdc_platform.core.offsets import Range
from cdc_platform.decode.mongodb import decode
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.replicate.letters import keep_letters
from tests.cli.calling import cdc, document
from tests.cli.conftest import Nowhere
from tests.decode.events import Event, records

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def letters(nowhere: Nowhere) -> Nowhere:
    """Two letters of ``shop.orders``: one that is no JSON, one whose bytes are no text."""
    table = DeltaLakeTable(
        Path(nowhere.env["CDC_LAKE_ROOT"]) / "delta" / "shop" / "orders_deadletters", "dead_letters"
    )
    batch = records(
        Event(), replace(Event(), value=b"no json", offset=4), replace(Event(), value=b"\xff", offset=5)
    )
    batch = replace(batch, ranges={0: Range(0, 6)})
    keep_letters(table, batch.stream, decode(batch).letters, batch.ranges, NOW)
    assert Policy.JSON
    return nowhere


def test_letters_are_listed_and_shown_with_their_bytes(letters: Nowhere) -> None:
    found = document(
        cdc("--sources", letters.sources, "deadletters", "list", "-s", "shop", "--json", env=letters.env)
    )
    assert [(each["table"], each["offset"], each["state"]) for each in found["letters"]] == [
        ("orders", 4, "open"),
        ("orders", 5, "open"),
    ]
    seen = cdc("--sources", letters.sources, "deadletters", "list", "orders", "-s", "shop", env=letters.env)
    assert "JSON" in seen.stdout
    words = ("deadletters", "show", "orders", "-s", "shop", "--partition", "0", "--offset", "5", "--json")
    [letter] = [document(cdc("--sources", letters.sources, *words, env=letters.env))["letter"]]
    assert letter["value"] == "\\xff"
    assert letter["remedy"]


def test_a_letter_that_is_not_there_is_a_usage_error_that_says_where_to_look(letters: Nowhere) -> None:
    words = ("deadletters", "show", "orders", "-s", "shop", "--partition", "0", "--offset", "9")
    result = cdc("--sources", letters.sources, *words, env=letters.env)
    assert result.exit_code == 2
    assert "cdc deadletters list orders --all" in result.stderr


def test_a_repaired_value_is_for_one_letter(letters: Nowhere, tmp_path: Path) -> None:
    repaired = tmp_path / "value.json"
    repaired.write_bytes(b"{}")
    words = ("deadletters", "replay", "orders", "-s", "shop", "--value", str(repaired))
    result = cdc("--sources", letters.sources, *words, env=letters.env)
    assert result.exit_code == 2
    assert "--partition and --offset" in result.stderr


def test_without_letters_there_is_nothing_to_say(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "deadletters", "list", "-s", "shop", env=nowhere.env)
    assert (result.exit_code, result.stdout.strip()) == (0, "no dead letters")


def test_a_table_is_paused_and_goes_on(nowhere: Nowhere) -> None:
    words = ("pause", "orders", "customers", "-s", "shop", "--reason", "a new disk", "--json")
    held = document(cdc("--sources", nowhere.sources, *words, env=nowhere.env))["held"]
    assert {name: hold["reason"] for name, hold in held.items()} == {
        "orders": "a new disk",
        "customers": "a new disk",
    }
    result = cdc("--sources", nowhere.sources, "resume", "orders", "-s", "shop", env=nowhere.env)
    assert result.stdout.strip() == "orders goes on"
    result = cdc("--sources", nowhere.sources, "resume", "orders", "-s", "shop", env=nowhere.env)
    assert result.stdout.strip() == "orders was not paused"


def test_the_source_need_not_be_named_where_the_table_tells_it(nowhere: Nowhere) -> None:
    held = document(cdc("--sources", nowhere.sources, "pause", "entries", "--json", env=nowhere.env))["held"]
    assert list(held) == ["entries"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("pause", "nothing", "-s", "shop"), "there is no table 'nothing'"),
        (("pause", "orders", "entries"), "which source?"),
        (
            ("replay", "orders", "-s", "shop", "--partition", "0", "--from", "5", "--to", "5"),
            "no offset from 5 to 5",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(nowhere: Nowhere, words: tuple[str, ...], what: str) -> None:
    result = cdc("--sources", nowhere.sources, *words, env=nowhere.env)
    assert result.exit_code == 2
    assert what in result.stderr
