"""Every kind of undecodable record, amid good ones: it is a letter, alone, and is named."""

from __future__ import annotations

import pytest

from cdc_platform.core.columns import KEY
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Policy
from cdc_platform.replicate import replicate
from cdc_platform.replicate.letters import read_letters
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica, rows
from tests.replicate.undecodable import KEYS, VALUES

TOPIC = "shop.shop.orders"
WHOLE = {"insert": created(9, v=1), "update": updated(9, v=1), "delete": deleted(9, v=1)}


def spoiled(what: str, operation: str) -> Visible:
    key, value = WHOLE[operation]
    assert key
    assert value
    return {**VALUES, **KEYS}[what](key, value)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


@pytest.mark.parametrize("operation", WHOLE)
@pytest.mark.parametrize("what", [*VALUES, *KEYS])
def test_an_undecodable_record_is_one_letter_and_its_neighbours_are_rows(
    log: MemoryLog, what: str, operation: str
) -> None:
    bad = spoiled(what, operation)
    log.write(TOPIC, 0, created(1, v=1), bad, created(2, v=2), bad)
    log.write(TOPIC, 1, bad)
    table = replica(log.topics[TOPIC].stream)
    replicate(table, log)
    letters = read_letters(table.letters, table.stream)
    assert [(each.partition, each.offset, each.key, each.value) for each in letters] == [
        (0, 1, *bad),
        (0, 3, *bad),
        (1, 0, *bad),
    ]
    assert all(each.reason and each.remedy for each in letters)
    assert rows(table.changelog, table.stream)[KEY].to_list() == ["1", "2"]


@pytest.mark.parametrize("what", [*VALUES, *KEYS])
def test_under_the_policy_refuse_it_stops_its_table_before_it(log: MemoryLog, what: str) -> None:
    log.write(TOPIC, 0, created(1, v=1), spoiled(what, "update"), created(2, v=2))
    table = replica(log.topics[TOPIC].stream, values=Policy.REFUSE)
    with pytest.raises(Terminal) as stopped:
        replicate(table, log)
    assert "partition 0, offset 1" in stopped.value.where
    assert table.changelog.open(table.stream).offsets == {0: 1}


def test_ten_thousand_of_all_kinds_lose_no_good_event(log: MemoryLog) -> None:
    kinds = [*VALUES, *KEYS]
    for n in range(10_000):
        log.write(TOPIC, n % 3, created(n, v=n), spoiled(kinds[n % len(kinds)], "insert"))
    table = replica(log.topics[TOPIC].stream, batch_rows=3_000)
    receipts = replicate(table, log)
    assert sum(each.dead for each in receipts) == 10_000
    assert len(read_letters(table.letters, table.stream)) == 10_000
    assert rows(table.current, table.stream).height == 10_000
