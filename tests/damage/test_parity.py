"""``delta_iceberg_parity`` beside damage: formats that stand elsewhere, letters, compaction, no key."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import polars as pl
import pytest

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Offsets
from cdc_platform.replicate import replicate
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.parity import Side, common, delta_iceberg_parity
from cdc_platform.verify.verdict import Stage, Verdict
from tests.damage.damages import DAMAGES
from tests.damage.lake import Lake, key_of, row


def sides(lake: Lake) -> tuple[Side, Side]:
    delta, iceberg = map(lake.side, Format)
    return delta, iceberg


def parity(lake: Lake) -> Finding:
    return delta_iceberg_parity("orders", *sides(lake))


@pytest.mark.parametrize("ahead", Format)
def test_a_format_that_is_ahead_is_taken_back_to_the_other(lake: Lake, ahead: Format) -> None:
    before = common(*sides(lake))
    lake.source.put(row(7, name="newer"))
    lake.source.put(row(50))
    lake.source.delete(2)
    replicate(lake.replicas[ahead], lake.log)
    found = parity(lake)
    assert found.verdict is Verdict.PASS, found.text
    assert common(*sides(lake)) == before
    assert "both current tables have the same 11 rows" in found.text
    DAMAGES["text cut"].do(replace(lake.tables(ahead), plain=key_of(8)))
    assert f"{key_of(8)} different" in parity(lake).text


def test_tables_without_events_pass(lake: Lake) -> None:
    nothing: Offsets = {}
    empty = [replace(each.changelog.handle, offsets=nothing) for each in sides(lake)]
    delta, iceberg = (
        replace(side, changelog=replace(side.changelog, handle=handle), current=None)
        for side, handle in zip(sides(lake), empty, strict=True)
    )
    found = delta_iceberg_parity("orders", delta, iceberg)
    assert (found.verdict, found.text) == (
        Verdict.PASS,
        "Both changelogs have the same 0 events below there.",
    )


def test_of_a_table_without_a_key_the_changelogs_are_compared(lake: Lake) -> None:
    delta, iceberg = (replace(side, current=None) for side in sides(lake))
    assert delta_iceberg_parity("orders", delta, iceberg).verdict is Verdict.PASS
    DAMAGES["event lost"].do(lake.tables(Format.DELTA))
    delta, iceberg = (replace(side, current=None) for side in sides(lake))
    found = delta_iceberg_parity("orders", delta, iceberg)
    assert found.verdict is Verdict.FAIL
    assert f"1:6 of key {key_of(7)} only in iceberg" in found.text


def test_an_event_that_is_a_dead_letter_of_the_other_format_is_no_difference(lake: Lake) -> None:
    DAMAGES["changelog gap"].do(lake.tables(Format.DELTA))
    place = pl.LazyFrame({PARTITION: [1], OFFSET: [4]}, schema={PARTITION: pl.Int32, OFFSET: pl.Int64})
    delta, iceberg = sides(lake)
    topic = replace(lake.topic(Format.DELTA), letters=lambda: place)
    assert delta_iceberg_parity("orders", delta, iceberg).verdict is Verdict.FAIL
    explained = delta_iceberg_parity("orders", replace(delta, topic=lambda: topic), iceberg)
    assert explained.verdict is Verdict.PASS, explained.text


def test_what_a_compacted_topic_had_lost_before_a_format_began_is_said_and_no_fault(lake: Lake) -> None:
    DAMAGES["changelog gap"].do(lake.tables(Format.ICEBERG))
    delta, iceberg = (
        replace(side, topic=partial(replace, lake.topic(side.format), compacted=True)) for side in sides(lake)
    )
    found = delta_iceberg_parity("orders", delta, iceberg)
    assert found.verdict is Verdict.PASS, found.text
    assert "1 events are in one changelog alone: the topic is compacted" in found.text


def test_formats_that_each_follow_their_own_changelog_are_told_to_differ(lake: Lake) -> None:
    for damage in ("both tables wrong",):
        DAMAGES[damage].do(lake.tables(Format.DELTA))
    for partition in range(2):
        lake.log.retain_from(lake.stream.topic, partition, 18 if partition else 16)
    found = parity(lake)
    (told,) = [fact.value for fact in found.facts if fact.name == "stages"]
    assert told == {key_of(7): Stage.UNKNOWN}
    assert "Kafka's records were read from no offset on only" in found.text
