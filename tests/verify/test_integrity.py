"""``cdf_integrity`` over real Delta tables: every damage is found and named, what is forgotten is unknown."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from cdc_platform.core.columns import INGESTED_ON, KEY, OFFSET, OPERATION, PARTITION
from cdc_platform.core.model import Kind
from cdc_platform.lake.delta.upkeep import compact, vacuum
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.verdict import Cause, Verdict
from tests.replicate.events import created, deleted, updated
from tests.verify.shop import Shop, data_files, delta, feed_files, rewrite, unlock


@pytest.fixture
def shop(lively: Shop) -> Shop:
    return lively


def assert_failed(found: Finding, *words: str) -> None:
    assert found.verdict is Verdict.FAIL, found.text
    for word in words:
        assert word in found.text


def facts(found: Finding) -> dict[str, object]:
    return {fact.name: fact.value for fact in found.facts}


def test_a_table_is_followed_from_its_creation_and_then_from_the_last_check(shop: Shop) -> None:
    first = shop.integrity()
    assert first.verdict is Verdict.PASS, first.text
    assert facts(first)["anchor_version"] == 0
    assert facts(first)["folded_rows"] == facts(first)["current_rows"] == 18
    shop.take(updated(7, v=0.25, more={"a": 1}), created(50, v=1), deleted(0))
    second = shop.integrity()
    assert second.verdict is Verdict.PASS, second.text
    assert facts(second)["anchor_version"] == facts(first)["current_version"]
    assert facts(second)["changes"] == {
        "insert": 1,
        "update_preimage": 1,
        "update_postimage": 1,
        "delete": 1,
    }
    assert facts(second)["appended"] == 3


def test_a_table_at_rest_passes_again(shop: Shop) -> None:
    shop.integrity()
    again = shop.integrity()
    assert again.verdict is Verdict.PASS
    assert facts(again)["changes"] == {}


def test_a_table_without_rows_passes(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.take()
    assert shop.integrity().verdict is Verdict.PASS


def test_the_fold_in_many_passes_is_the_fold(shop: Shop) -> None:
    assert shop.integrity(pass_rows=3).verdict is Verdict.PASS


def test_partitioned_tables_are_followed_as_others(tmp_path: Path) -> None:
    shop = Shop(tmp_path, [INGESTED_ON, PARTITION], [OPERATION])
    shop.take(*(created(n, v=n) for n in range(9)))
    assert shop.integrity().verdict is Verdict.PASS
    shop.take(updated(7, v=1), deleted(3), created(50))
    compact(Path(shop.current.uri))
    found = shop.integrity()
    assert found.verdict is Verdict.PASS, found.text
    delta(shop.current).delete(f"{KEY} = '7'")
    assert_failed(shop.integrity(), "7 missing")


@pytest.mark.parametrize("hours", [168, 0])
def test_compaction_in_between_disturbs_nothing(shop: Shop, hours: int) -> None:
    shop.integrity()
    shop.take(updated(7, v=0.25), created(50, v=1))
    for table in (shop.current, shop.changelog):
        compact(Path(table.uri))
    shop.take(deleted(50))
    found = shop.integrity()
    assert found.verdict is Verdict.PASS, found.text
    if hours == 0:
        for table in (shop.current, shop.changelog):
            vacuum(Path(table.uri), 0)
        assert shop.integrity().verdict is Verdict.PASS


def test_a_row_deleted_by_an_outsider_fails_and_is_named_with_the_version(shop: Shop) -> None:
    shop.integrity()
    delta(shop.current).delete(f"{KEY} = '7'")
    found = shop.integrity()
    assert_failed(found, "7 missing (last changelog row", f"version {delta(shop.current).version()} (DELETE)")
    assert_failed(shop.integrity(), "7 missing")


def test_a_value_changed_by_an_outsider_fails_and_is_named(shop: Shop) -> None:
    delta(shop.current).update(updates={"v": "99.0"}, predicate=f"{KEY} = '8'")
    assert_failed(shop.integrity(), "8 different", "(UPDATE)")


def test_a_row_appended_twice_fails_and_is_named(shop: Shop) -> None:
    row = shop.current.rows().filter(pl.col(KEY) == "8").collect()
    write_deltalake(delta(shop.current), row.to_arrow(), mode="append")
    assert_failed(shop.integrity(), "8 extra", "(WRITE)")


def test_a_table_moved_back_fails_and_names_the_keys(shop: Shop) -> None:
    shop.integrity()
    before = delta(shop.current).version()
    shop.take(updated(7, v=0.25), created(50, v=1))
    delta(shop.current).restore(before)
    assert_failed(shop.integrity(), "50 missing", "7 different", "(RESTORE)")


def test_a_fault_is_no_beginning_for_the_next_check(shop: Shop) -> None:
    shop.integrity()
    delta(shop.current).delete(f"{KEY} = '7'")
    assert_failed(shop.integrity())
    shop.take(updated(8, v=5))
    assert_failed(shop.integrity(), "7 missing")
    shop.take(updated(7, v=7))
    mended = shop.integrity()
    assert mended.verdict is Verdict.PASS, mended.text
    assert "Not made by this platform" in mended.text


def test_a_feed_that_tells_something_else_fails_and_names_key_and_version(shop: Shop) -> None:
    shop.integrity()
    shop.take(updated(7, v=70))
    path = feed_files(shop.current)[-1]
    shop.take(updated(7, v=71))
    lie = pl.when(pl.col("v") == 70).then(69).otherwise("v").alias("v")
    rewrite(shop.current, path, lambda rows: rows.with_columns(lie))
    assert_failed(shop.integrity(), "buckets differ", "7 (version", "takes away another row than was there")


def test_an_update_without_its_image_before_fails(shop: Shop) -> None:
    shop.integrity()
    shop.take(updated(7, v=0.25))
    halve = pl.col("_change_type") != "update_preimage"
    rewrite(shop.current, feed_files(shop.current)[-1], lambda rows: rows.filter(halve))
    assert_failed(shop.integrity(), "7 in version", "(0 before, 1 after)")


def test_a_feed_with_flipped_bits_fails(shop: Shop) -> None:
    shop.integrity()
    shop.take(updated(7, v=0.25))
    path = feed_files(shop.current)[-1]
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    assert_failed(shop.integrity(), "In the change feed of version 9", "has no footer")


def test_rows_lost_by_a_rewrite_that_claims_to_change_nothing_fail(shop: Shop) -> None:
    shop.integrity()
    compact(Path(shop.current.uri))
    (path,) = data_files(shop.current)
    rewrite(shop.current, path, lambda rows: rows.filter(pl.col(KEY) != "7"))
    assert_failed(shop.integrity(), "7 missing", "rows were changed without a change in the feed")


def test_a_fault_of_the_past_can_be_accepted_but_not_one_that_is_still_there(shop: Shop) -> None:
    shop.integrity()
    shop.take(updated(7, v=70))
    halve = pl.col("_change_type") != "update_preimage"
    rewrite(shop.current, feed_files(shop.current)[-1], lambda rows: rows.filter(halve))
    assert_failed(shop.integrity(), "To accept the past as it is: cdc verify --begin-anew.")
    accepted = shop.integrity(anew=True)
    assert (accepted.verdict, accepted.cause) == (Verdict.UNKNOWN, Cause.FIRST_LOOK)
    shop.take(updated(7, v=71))
    assert shop.integrity().verdict is Verdict.PASS
    delta(shop.current).delete(f"{KEY} = '7'")
    assert_failed(shop.integrity(anew=True), "7 missing")
    assert_failed(shop.integrity(), "7 missing")


def test_a_version_that_is_missing_fails_by_its_number(shop: Shop) -> None:
    shop.integrity()
    for n in range(4):
        shop.take(updated(7, v=n))
    delta(shop.current).create_checkpoint()
    missing = delta(shop.current).version() - 2
    Path(shop.current.uri, "_delta_log", f"{missing:020}.json").unlink()
    assert_failed(shop.integrity(), f"Version {missing} is missing")


def test_a_log_that_was_cut_back_fails(shop: Shop) -> None:
    shop.take(updated(7, v=1))
    shop.integrity()
    Path(shop.current.uri, "_delta_log", f"{delta(shop.current).version():020}.json").unlink()
    assert_failed(shop.integrity(), "its log was cut back")


def test_a_changelog_row_deleted_fails_by_version(shop: Shop) -> None:
    shop.integrity()
    unlock(shop.changelog).delete(f"{KEY} = '7'")
    version = delta(shop.changelog).version()
    assert_failed(shop.integrity(), f"delete in version {version}", "7 extra (no changelog row)")


def test_changelog_rows_that_an_outsider_appended_under_our_name_fail(shop: Shop) -> None:
    shop.integrity()
    handle = shop.changelog.open(shop.stream)
    row = shop.changelog.rows().filter(pl.col(KEY) == "7").collect().head(1)
    shop.changelog.append(handle, row, {}, {"cdc.ranges": "0:[1000,1001) 1:[1000,1001)"})
    partition, offset = row.select(PARTITION, OFFSET).row(0)
    version = delta(shop.changelog).version()
    assert_failed(shop.integrity(), f"{partition}:{offset} in version {version}")


def test_changelog_rows_lost_by_a_rewrite_fail(shop: Shop) -> None:
    shop.integrity()
    compact(Path(shop.changelog.uri))
    (path,) = data_files(shop.changelog)
    rewrite(shop.changelog, path, lambda rows: rows.filter(pl.col(KEY) != "7"))
    assert_failed(shop.integrity(), "The changelog's feed", "rows with offsets that sum up to")


def test_a_feed_whose_files_were_vacuumed_is_unknown_and_the_next_check_begins_there(shop: Shop) -> None:
    shop.integrity()
    shop.take(updated(7, v=0.25), created(50, v=1))
    for table in (shop.changelog, shop.current):
        delta(table).optimize.compact()
        delta(table).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    found = shop.integrity()
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FORGOTTEN), found.text
    assert "is not there any more" in found.text
    shop.take(updated(7, v=0.5))
    assert shop.integrity().verdict is Verdict.PASS


def test_a_log_cleaned_up_past_the_last_check_is_unknown(shop: Shop) -> None:
    shop.integrity()
    seen = delta(shop.current).version()
    for n in range(4):
        shop.take(updated(7, v=n))
    delta(shop.current).create_checkpoint()
    for version in range(seen + 3):
        Path(shop.current.uri, "_delta_log", f"{version:020}.json").unlink()
    found = shop.integrity()
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FORGOTTEN), found.text
    assert shop.integrity().verdict is Verdict.PASS


def test_a_table_never_seen_whose_creation_is_forgotten_is_unknown_once(shop: Shop) -> None:
    delta(shop.current).create_checkpoint()
    Path(shop.current.uri, "_delta_log", f"{0:020}.json").unlink()
    found = shop.integrity()
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FIRST_LOOK), found.text
    assert shop.integrity().verdict is Verdict.PASS


def test_a_note_that_cannot_be_read_is_said_with_its_file(shop: Shop) -> None:
    shop.integrity()
    (path,) = shop.notes.folder.glob("*current*")
    path.write_text("{")
    with pytest.raises(Exception, match="remove the file"):
        shop.integrity()


def test_notes_are_of_one_table_each(shop: Shop) -> None:
    shop.integrity()
    assert shop.place(Kind.CURRENT).history.identity() != shop.place(Kind.CHANGELOG).history.identity()
