"""``cdc verify`` without any service: what it refuses, and that unknown is no pass. On the stack:
tests/stack/test_checks.py."""

from __future__ import annotations

import pytest

from cdc_platform.cli.failures import Exit
from cdc_platform.verify.finding import MEANINGS, Check
from tests.cli.calling import cdc, document
from tests.cli.conftest import Nowhere


def test_its_help_names_every_check_and_its_exit_codes() -> None:
    told = " ".join(cdc("verify", "--help").stdout.split())
    assert "cdc verify orders customers --source shop" in told
    assert all(check.value in told for check in Check)
    assert (
        f"Exit code 0 if all passed, {Exit.DIFFERENT:d} if one failed, {Exit.UNPROVEN:d} if none failed"
        in told
    )
    assert set(MEANINGS) == set(Check)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing",), "there is no table 'nothing'"),
        (("entries", "--source", "shop"), "name one of: customers, orders"),
        (("--source", "none"), "there is no source 'none'"),
        (("--checks", "content,contents"), "there is no check 'contents'"),
    ],
)
def test_what_is_not_declared_is_refused(nowhere: Nowhere, words: tuple[str, ...], told: str) -> None:
    result = cdc("--sources", nowhere.sources, "verify", *words, env=nowhere.env)
    assert result.exit_code == Exit.USAGE
    assert told in result.stderr


def test_what_cannot_be_checked_is_unknown_with_a_code_of_its_own(nowhere: Nowhere) -> None:
    words = ("verify", "--source", "shop", "--checks", "content,lag", "--json")
    result = cdc("--sources", nowhere.sources, *words, env=nowhere.env)
    assert result.exit_code == Exit.UNPROVEN
    told = document(result)
    assert told["verdicts"] == {"pass": 0, "fail": 0, "unknown": 4}
    found = {(each["source"], each["table"], each["check"]): each for each in told["findings"]}
    assert set(found) == {
        ("shop", table, check) for table in ("orders", "customers") for check in ("content", "lag")
    }
    for each in found.values():
        assert each["verdict"] == "unknown"
        assert each["cause"]
        assert "Kafka did not answer" in each["text"]
    assert "UNKNOWN shop.orders (delta) content" in result.stderr
