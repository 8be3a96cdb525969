"""What a table reads next, and when it must not read on."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cdc_platform.core.errors import LogTruncated, OffsetsLost
from cdc_platform.core.offsets import Range, Stream, describe, ends_of, lag, parse, plan, reached

STREAM = Stream("cluster", "shop.shop.orders", "uuid-1", 3)

OFFSET = st.integers(0, 2**62)
HELD = st.tuples(OFFSET, OFFSET).map(lambda ends: Range(min(ends), max(ends)))
RANGES = st.dictionaries(st.integers(0, 50), HELD, max_size=6)
OFFSETS = st.dictionaries(st.integers(0, 50), OFFSET, max_size=6)


def test_a_plan_reaches_from_the_commit_to_the_end() -> None:
    available = {0: Range(0, 10), 1: Range(3, 8), 2: Range(0, 0)}
    assert plan(STREAM, {0: 4, 1: 8}, available) == {0: Range(4, 10), 1: Range(8, 8), 2: Range(0, 0)}


def test_a_partition_that_was_added_is_read_from_its_start() -> None:
    assert plan(STREAM, {0: 4}, {0: Range(0, 4), 1: Range(0, 7)}) == {0: Range(4, 4), 1: Range(0, 7)}


def test_what_retention_took_before_it_was_committed_is_named() -> None:
    with pytest.raises(OffsetsLost) as raised:
        plan(STREAM, {0: 4, 1: 5}, {0: Range(0, 9), 1: Range(9, 20)})
    assert "5 to 8" in raised.value.what
    assert raised.value.where == "topic shop.shop.orders, partition 1, committed offset 5"
    assert raised.value.remedy


def test_a_table_that_never_read_has_lost_what_retention_took_as_well() -> None:
    with pytest.raises(OffsetsLost, match="0 to 2"):
        plan(STREAM, {}, {0: Range(3, 9)})


def test_retention_up_to_the_very_commit_has_taken_nothing() -> None:
    assert plan(STREAM, {0: 9}, {0: Range(9, 9)}) == {0: Range(9, 9)}


def test_a_topic_that_ends_before_the_commit_was_truncated() -> None:
    with pytest.raises(LogTruncated) as raised:
        plan(STREAM, {2: 11}, {0: Range(0, 4), 2: Range(0, 10)})
    assert "ends at offset 10" in raised.value.what
    assert raised.value.where == "topic shop.shop.orders, partition 2, committed offset 11"
    assert raised.value.remedy


@given(OFFSETS, RANGES)
def test_a_plan_leaves_no_gap_and_no_overlap_or_refuses(
    committed: dict[int, int], available: dict[int, Range]
) -> None:
    lost = any(committed.get(p, 0) < held.start for p, held in available.items())
    truncated = any(committed.get(p, 0) > held.end for p, held in available.items())
    if lost or truncated:
        with pytest.raises((OffsetsLost, LogTruncated)):
            plan(STREAM, committed, available)
        return
    planned = plan(STREAM, committed, available)
    assert planned.keys() == available.keys()
    for partition, covered in planned.items():
        assert covered.start == committed.get(partition, 0)
        assert covered.end == available[partition].end
        assert available[partition].start <= covered.start <= covered.end


@given(OFFSETS, OFFSETS)
def test_there_is_lag_exactly_until_the_ends_are_reached(
    committed: dict[int, int], ends: dict[int, int]
) -> None:
    assert lag(committed, ends) >= 0
    assert (lag(committed, ends) == 0) == reached(committed, ends)
    assert lag(committed | ends, ends) == 0


def test_lag_adds_up_over_partitions_and_none_makes_up_for_another() -> None:
    assert lag({0: 5, 1: 90}, {0: 9, 1: 10, 2: 3}) == 7


def test_a_commit_past_the_ends_has_reached_them() -> None:
    assert reached({0: 12}, {0: 10})
    assert not reached({0: 12}, {0: 10, 1: 1})
    assert reached({}, {0: 0})


def test_ranges_are_described_in_the_order_of_their_partitions() -> None:
    assert describe({2: Range(5, 9), 0: Range(17, 42)}) == "0:[17,42) 2:[5,9)"
    assert describe({}) == ""


@given(RANGES)
def test_a_description_can_be_read_back(ranges: dict[int, Range]) -> None:
    assert parse(describe(ranges)) == ranges
    assert ends_of(parse(describe(ranges))) == {p: covered.end for p, covered in ranges.items()}


@given(st.builds(Stream, *[st.text("ab/-", min_size=1, max_size=3)] * 3, st.just(2)), st.integers(0, 1))
def test_an_application_id_names_topic_and_partition(stream: Stream, partition: int) -> None:
    assert stream.app_id(partition) == f"cdc/{stream.identity}/{partition}"
    assert stream.app_id(0) != stream.app_id(1)


@given(OFFSET, OFFSET)
def test_a_range_is_true_if_it_holds_an_offset(start: int, end: int) -> None:
    assume(end >= start)
    assert bool(Range(start, end)) == (end > start)
