"""``offsets_complete`` over a real Delta changelog: what is lost, doubled or invented is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from deltalake import write_deltalake

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.model import Kind
from cdc_platform.lake.delta.upkeep import compact
from cdc_platform.verify.complete import offsets_complete
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.verdict import Cause, Verdict
from tests.replicate.events import created, deleted, event, tombstone, updated
from tests.verify.shop import TOPIC, Shop, delta, unlock

BY_US = {"connector": "cdc-platform"}


class Ticking:
    """A clock that gains a second whenever it is looked at."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def check(shop: Shop, **options: Any) -> Finding:
    given = {"stream": shop.stream, "log": shop.log, "newest": 100_000, "clock": Ticking(), **options}
    return offsets_complete("orders", shop.place(Kind.CHANGELOG), Topic(**given))


def facts(found: Finding) -> dict[str, object]:
    return {fact.name: fact.value for fact in found.facts}


def assert_failed(found: Finding, *words: str) -> None:
    assert found.verdict is Verdict.FAIL, found.text
    for word in words:
        assert word in found.text


def place(shop: Shop, key: str) -> str:
    row = shop.changelog.rows().filter(pl.col(KEY) == key).select(PARTITION, OFFSET).collect()
    return "{}:{}".format(*row.row(0))


@pytest.fixture
def shop(lively: Shop) -> Shop:
    lively.take(deleted(3), tombstone(3))
    return lively


def test_every_record_once_passes_over_markers_and_tombstones(shop: Shop) -> None:
    found = check(shop)
    assert found.verdict is Verdict.PASS, found.text
    assert (
        facts(found)["kafka_records"]
        == facts(found)["changelog_rows"]
        == shop.changelog.rows().collect().height
    )
    assert facts(found)["tombstones"] == 1
    assert facts(found)["kafka_checked"] == "0:[0,38) 1:[0,34)"


def test_records_that_are_not_committed_yet_are_not_asked_for(shop: Shop) -> None:
    shop.write(created(77))
    assert check(shop).verdict is Verdict.PASS


def test_the_newest_offsets_alone_are_read_again_and_it_is_said(shop: Shop) -> None:
    found = check(shop, newest=4)
    assert found.verdict is Verdict.PASS
    assert facts(found)["kafka_checked"] == "0:[34,38) 1:[30,34)"


def test_a_table_without_an_event_passes(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.take()
    assert check(shop).verdict is Verdict.PASS


def test_compaction_disturbs_nothing(shop: Shop) -> None:
    compact(Path(shop.changelog.uri))
    assert check(shop).verdict is Verdict.PASS


def test_a_row_that_is_gone_fails_and_is_named_by_its_place_and_its_commit(shop: Shop) -> None:
    missing = place(shop, "7")
    unlock(shop.changelog).delete(f"{KEY} = '7'")
    assert_failed(
        check(shop), f"are not in the changelog: {missing}.", "version 1 wrote 20, and 19 of them are there"
    )


def test_a_row_that_kafka_no_longer_has_is_missed_by_its_commit(shop: Shop) -> None:
    unlock(shop.changelog).delete(f"{KEY} = '7'")
    assert_failed(check(shop, newest=2), "version 1 wrote 20, and 19 of them are there")


def test_a_doubled_row_fails_and_is_named(shop: Shop) -> None:
    doubled = place(shop, "7")
    row = shop.changelog.rows().filter(pl.col(KEY) == "7").collect()
    write_deltalake(delta(shop.changelog), row.to_arrow(), mode="append")
    assert_failed(check(shop), f"1 records are in the changelog more than once: {doubled}.")


@pytest.mark.parametrize("newest", [100_000, 0])
def test_a_table_moved_back_keeps_its_offsets_and_fails(shop: Shop, newest: int) -> None:
    before = delta(shop.changelog).version()
    shop.take(updated(7, v=1), created(50, v=1))
    delta(shop.changelog).restore(before)
    words = () if newest == 0 else ("2 records that Kafka holds", "are not in the changelog")
    assert_failed(check(shop, newest=newest), "wrote 2, and 0 of them are there", *words)


def test_a_row_beyond_the_committed_offsets_fails(shop: Shop) -> None:
    handle = shop.changelog.open(shop.stream)
    row = shop.changelog.rows().head(1).collect().with_columns(pl.lit(9_999, dtype=pl.Int64).alias(OFFSET))
    shop.changelog.append(handle, row, {}, {})
    assert_failed(check(shop), "are not of this topic's offsets below", ":9999")


def test_a_row_of_another_topic_fails(shop: Shop) -> None:
    unlock(shop.changelog).update(updates={"_kafka_topic": "'other'"}, predicate=f"{KEY} = '7'")
    assert_failed(check(shop), "are not of this topic's offsets", place(shop, "7"))


def test_a_row_whose_record_was_never_committed_fails(shop: Shop) -> None:
    handle = shop.changelog.open(shop.stream)
    row = shop.changelog.rows().filter(pl.col(PARTITION) == 0).head(1).collect()
    shop.changelog.append(handle, row.with_columns(pl.lit(1, dtype=pl.Int64).alias(OFFSET)), {}, {})
    assert_failed(check(shop), "have no committed record in Kafka", "0:1.")


def test_records_that_compaction_removed_are_no_fault_where_the_topic_is_compacted(shop: Shop) -> None:
    shop.log.topics[TOPIC].partitions[0].slots[0] = None
    assert_failed(check(shop), "have no committed record in Kafka", "0:0.")
    found = check(shop, compacted=True)
    assert found.verdict is Verdict.PASS
    assert "the compacted topic has no record any more" in found.text


def test_a_record_that_is_a_dead_letter_is_not_missed(shop: Shop) -> None:
    partition, offset = map(int, place(shop, "7").split(":"))
    letters = pl.LazyFrame(
        {PARTITION: [partition], OFFSET: [offset]}, schema={PARTITION: pl.Int32, OFFSET: pl.Int64}
    )
    unlock(shop.changelog).delete(f"{KEY} = '7'")
    assert "are not in the changelog" not in check(shop, letters=lambda: letters).text


def test_a_repair_that_came_too_late_has_no_row(shop: Shop) -> None:
    key, value = event(7, "d", None)
    assert value is not None
    repair = orjson.dumps({**orjson.loads(value), "source": {**orjson.loads(value)["source"], **BY_US}})
    shop.take((key, repair))
    assert check(shop).verdict is Verdict.PASS
    unlock(shop.changelog).delete(f"{KEY} = '7' and _cdc_operation = 'd'")
    assert "are not in the changelog" not in check(shop).text


def test_a_topic_that_lost_its_end_fails(shop: Shop) -> None:
    shop.log.cut(TOPIC, 1, 30)
    assert_failed(check(shop), "Partition 1 is committed up to 34, and the topic ends at 30")


def test_records_removed_before_they_were_committed_fail(shop: Shop) -> None:
    shop.write(*(created(n) for n in range(100, 110)))
    shop.log.retain_from(TOPIC, 0, 42)
    assert_failed(check(shop), "Kafka removed offsets 38 to 41 of partition 0")


def test_a_topic_made_anew_fails(shop: Shop) -> None:
    assert_failed(
        check(shop, stream=shop.log.create(TOPIC, 2)), "Its topic was deleted and made again", "uuid-1"
    )


def test_a_topic_whose_records_are_all_gone_is_unknown(shop: Shop) -> None:
    for partition, end in shop.changelog.open(shop.stream).offsets.items():
        shop.log.retain_from(TOPIC, partition, end)
    found = check(shop)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FORGOTTEN)
    assert "Kafka holds no record below the committed offsets any more" in found.text


def test_a_partition_whose_records_are_all_gone_does_not_hinder_the_others(shop: Shop) -> None:
    shop.log.retain_from(TOPIC, 0, shop.changelog.open(shop.stream).offsets[0])
    found = check(shop)
    assert found.verdict is Verdict.PASS, found.text
    assert facts(found)["kafka_checked"] == "1:[0,34)"


def test_a_fault_within_the_changelog_is_found_without_kafka(shop: Shop) -> None:
    for partition, end in shop.changelog.open(shop.stream).offsets.items():
        shop.log.retain_from(TOPIC, partition, end)
    row = shop.changelog.rows().filter(pl.col(KEY) == "7").collect()
    write_deltalake(delta(shop.changelog), row.to_arrow(), mode="append")
    assert_failed(check(shop), "more than once")


def test_kafka_that_hands_out_nothing_in_time_is_unknown(shop: Shop) -> None:
    class Silent:
        def poll(self, *_: object) -> list[Any]:
            return []

        def close(self) -> None: ...

    class Mute:
        available = shop.log.available

        def reader(self, _: object) -> Silent:
            return Silent()

    found = check(shop, log=Mute())
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.LAGGING)


def test_a_log_without_commits_of_rows_is_unknown(shop: Shop) -> None:
    delta(shop.changelog).create_checkpoint()
    for version in range(delta(shop.changelog).version() + 1):
        Path(shop.changelog.uri, "_delta_log", f"{version:020}.json").unlink()
    found = check(shop)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FORGOTTEN), found.text


def test_doubled_rows_are_found_whatever_the_step(shop: Shop) -> None:
    assert check(shop, step=7).verdict is Verdict.PASS
    row = shop.changelog.rows().filter(pl.col(KEY) == "7").collect()
    write_deltalake(delta(shop.changelog), row.to_arrow(), mode="append")
    assert_failed(check(shop, step=7), "more than once")
