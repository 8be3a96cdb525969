"""Every damage, in both formats: found by the checks that are said to find it, with its keys and the
hand-over at which they went wrong; and nothing is found in a healthy lake."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cdc_platform.core.model import Format
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.verdict import Verdict
from tests.damage.damages import DAMAGES, Damage
from tests.damage.lake import Lake

REQUIRED = 20
"""Damages in each format that the platform is held to find."""


def failing(findings: Iterable[Finding]) -> dict[Check, Finding]:
    return {each.check: each for each in findings if each.verdict is Verdict.FAIL}


def stages(findings: Iterable[Finding]) -> set[str]:
    """Where keys and places went wrong, by every check that looked for that."""
    told = [fact.value for each in findings for fact in each.facts if fact.name == "stages"]
    return {stage for each in told if isinstance(each, dict) for stage in each.values()}


def test_there_are_as_many_damages_as_are_required() -> None:
    assert len(DAMAGES) >= REQUIRED


def test_nothing_is_found_in_a_healthy_lake(lake: Lake) -> None:
    for found in (*lake.checked().values(), *lake.checked().values()):
        assert [each.text for each in found if each.verdict is not Verdict.PASS] == []


@pytest.mark.parametrize("stored", Format)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_found_and_named(lake: Lake, damage: Damage, stored: Format) -> None:
    hits = damage.do(lake.tables(stored))
    (found,) = lake.checked(stored).values()
    broken = failing(found)
    assert set(broken) == damage.finders(stored)
    if stored in damage.refused:
        assert all("The table was moved back: its rows are those of" in each.text for each in broken.values())
        assert all("cdc rebuild TABLE." in each.text for each in broken.values())
    assert stages(broken.values()) == ({damage.stage} if damage.stage else set())
    unnamed = [key for key in hits if not any(key in each.text for each in broken.values())]
    assert unnamed == []


def test_damage_to_one_format_is_no_fault_of_the_other_but_tells_them_apart(lake: Lake) -> None:
    DAMAGES["text garbled"].do(lake.tables(Format.ICEBERG))
    (healthy,) = lake.checked(Format.DELTA).values()
    assert set(failing(healthy)) == {Check.DELTA_ICEBERG_PARITY}
    assert "in iceberg its last changelog row" in failing(healthy)[Check.DELTA_ICEBERG_PARITY].text


def test_what_was_found_stays_found_until_it_is_mended(lake: Lake) -> None:
    DAMAGES["row lost"].do(lake.tables(Format.DELTA))
    first, again = (failing(lake.checked(Format.DELTA)[Format.DELTA]) for _ in range(2))
    assert set(first) == set(again) != set()
