"""``cdc verify`` without any service: what it refuses, and that unknown is no pass. On the stack:
tests/stack/test_checks.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.cli.failures import Exit
from cdc_platform.core.model import Format
from cdc_platform.verify.finding import MEANINGS, Check, checks_of
from tests.cli.calling import cdc, declare, document
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


def test_all_is_every_check_of_every_table_of_every_source(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "verify", "--all", "--json", env=nowhere.env)
    assert result.exit_code == Exit.UNPROVEN
    told = document(result)
    assert told["verdict"] == "unknown"
    assert told["scope"] == "Every check of every table of every source."
    assert {(each["source"], each["verdict"]) for each in told["sources"]} == {
        ("shop", "unknown"),
        ("ledger", "unknown"),
    }
    assert {(each["source"], each["table"], each["check"]) for each in told["findings"]} == {
        (source, table, check.value)
        for source, table in (("shop", "orders"), ("shop", "customers"), ("ledger", "entries"))
        for check in checks_of([Format.DELTA])
    }


def test_a_check_of_two_formats_is_unknown_where_there_is_one_and_only_if_it_is_asked_for(
    nowhere: Nowhere,
) -> None:
    words = ("verify", "orders", "--source", "shop", "--json", "--checks")
    alone = document(cdc("--sources", nowhere.sources, *words, "delta_iceberg_parity", env=nowhere.env))
    beside = document(cdc("--sources", nowhere.sources, *words, "lag,delta_iceberg_parity", env=nowhere.env))
    assert [(each["check"], each["verdict"]) for each in alone["findings"]] == [
        ("delta_iceberg_parity", "unknown")
    ]
    assert [each["check"] for each in beside["findings"]] == ["lag"]


@pytest.mark.parametrize("less", [("orders",), ("--source", "shop"), ("--checks", "lag")])
def test_all_is_not_narrowed(nowhere: Nowhere, less: tuple[str, ...]) -> None:
    result = cdc("--sources", nowhere.sources, "verify", "--all", *less, env=nowhere.env)
    assert result.exit_code == Exit.USAGE
    assert "--all is everything" in result.stderr


def test_a_source_of_which_no_table_is_known_yet_is_not_proven(tmp_path: Path, nowhere: Nowhere) -> None:
    declare(tmp_path / "globs", "audit", collections=["audit_*"])
    result = cdc("--sources", str(tmp_path / "globs"), "verify", "--all", env=nowhere.env)
    assert result.exit_code == Exit.UNPROVEN
    assert "audit: no table is known yet, nothing was checked" in result.stdout


def test_the_report_is_written_whatever_the_verdict_is(tmp_path: Path, nowhere: Nowhere) -> None:
    report = tmp_path / "proof.html"
    words = ("verify", "--all", "--json", "--report", str(report))
    result = cdc("--sources", nowhere.sources, *words, env=nowhere.env)
    assert result.exit_code == Exit.UNPROVEN
    assert document(result)["verdicts"]["unknown"] == 18
    html = report.read_text()
    assert "18 of 18 checks could not be made" in html
    assert "ledger.entries" in html
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".proof")] == []


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, nowhere: Nowhere
) -> None:
    words = ("verify", "--report", str(tmp_path / "nowhere" / "proof.html"))
    result = cdc("--sources", nowhere.sources, *words, env=nowhere.env)
    assert result.exit_code == Exit.USAGE
    assert "the report cannot be written there" in result.stderr
