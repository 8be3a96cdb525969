"""The report of a verification: all there is to say, in one file, for everybody."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cdc_platform.report.page import duration, page
from cdc_platform.report.verification import verified
from cdc_platform.verify.finding import Check
from cdc_platform.verify.verdict import Verdict
from tests.report.verifications import SHOP, verification


class Seen(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("away", [False, True])
def test_the_page_is_one_whole_file_that_needs_nothing_else(damaged: bool, away: bool) -> None:
    html = page(verification(damaged=damaged, away=away))
    seen = Seen(html)
    assert seen.open == []
    assert {tag for tag, _ in seen.elements} & {"script", "link", "img", "iframe", "object"} == set()
    assert not re.search(r"url\(|@import|https?://", html)
    anchors = {attributes["id"] for _, attributes in seen.elements if attributes.get("id")}
    links = {attributes["href"] for tag, attributes in seen.elements if tag == "a"}
    assert {f"#{each}" for each in anchors} >= links


def test_every_column_and_row_of_its_tables_has_a_heading() -> None:
    seen = Seen(page(verification(damaged=True)))
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in seen.elements if tag == "th")
    assert ("html", {"lang": "en"}) in seen.elements


def test_it_passes_with_rows_digests_lag_and_offsets() -> None:
    text = Seen(page(verification())).text
    assert "Pass: the lake equals its sources" in text
    assert "30 pass, 0 fail, 0 unknown" in text
    assert "2026-11-21 21:00:05 UTC" in text
    assert "Compared at cluster time 1795294806.7." in text
    assert "19,047 25,947 19,047 19,047 19,051 12 0f0f0f0f0f0f 0f0f0f0f0f0f = same" in text
    assert "delta changelog 0.71 1.18 1.59" in text
    assert "committed 0: 8,411, 1: 8,207, 2: 8,329" in text
    assert "What failed" not in text


def test_what_was_not_read_is_told() -> None:
    text = Seen(page(verification(some=True))).text
    assert "delta: every row was read. Proven through 2026-11-21 21:00:06 UTC." in text
    assert "delta: not every row was read; compared in the 312 keys that changed since 1795294500.1" in text
    assert "Proven through 2026-11-21 03:00:00 UTC." in text


def test_what_failed_comes_first_with_its_keys_and_letters() -> None:
    text = Seen(page(verification(damaged=True))).text
    assert "Fail: 2 of 30 checks failed" in text
    assert text.index("What failed") < text.index("All verdicts")
    assert '{"$oid":"5f2a<b>"} missing – 0 4,711' in text
    assert '{"region":"eu","id":4} different note, price 2 99' in text
    assert "1009 extra – – –" in text
    assert "41 found, the first 3 of them" in text
    assert "1 42 the value of `price` fits no column" in text
    assert "≠ other" in text
    assert "p95 of the last minutes is 9.1 s" in text


def test_what_could_not_be_checked_is_told_with_what_to_do() -> None:
    text = Seen(page(verification(away=True))).text
    assert "Unknown: 2 of 30 checks could not be made" in text
    assert "source unreachable" in text
    assert "What to do: check that it runs, and prove again" in text


def test_no_password_is_in_it() -> None:
    html = page(verification(away=True))
    assert "hunter2" not in html
    assert "reader:***@db.example.com" in html


def test_of_nothing_the_verdict_is_unknown() -> None:
    nothing = replace(verification(), sources=(verified(SHOP, [], []),))
    assert nothing.verdict is Verdict.UNKNOWN
    text = Seen(page(nothing)).text
    assert "Unknown: there was nothing to check" in text
    assert "No table of this source is known yet" in text


def test_what_is_said_in_the_same_words_is_told_once() -> None:
    told = verification(damaged=True).saying(Verdict.FAIL)
    assert [each.checks for each in told] == [(Check.CONTENT,), (Check.LAG,)]
    away = verification(away=True)
    assert [each.checks for each in away.saying(Verdict.UNKNOWN)] == [(Check.ROW_COUNTS, Check.CONTENT)]
    [at_rest] = [each for each in away.saying(Verdict.PASS) if Check.LAG in each.checks]
    assert len(at_rest.tables) == len(away.tables)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3_720, "1 h 2 min")],
)
def test_durations_are_told_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told
