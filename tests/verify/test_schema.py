"""``schema_consistent`` over real Delta tables: columns lost, changed or only on one side are named."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from cdc_platform.core.columns import KEY
from cdc_platform.core.model import Kind
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.replicate import Batch, append_changes
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.schema import schema_consistent
from cdc_platform.verify.verdict import Cause, Verdict
from tests.replicate.events import created, updated
from tests.verify.shop import NOW, Shop, delta, unlock


def check(shop: Shop, *, anew: bool = False) -> Finding:
    places = shop.place(Kind.CHANGELOG), shop.place(Kind.CURRENT)
    return schema_consistent("orders", *places, shop.stream, shop.notes, NOW, anew=anew)


def assert_failed(found: Finding, *words: str) -> None:
    assert found.verdict is Verdict.FAIL, found.text
    for word in words:
        assert word in found.text


def overwritten(table: DeltaLakeTable, rows: pl.DataFrame) -> None:
    """Rows and columns of a table replaced, as an outsider's script does it."""
    write_deltalake(delta(table), rows.to_arrow(), mode="overwrite", schema_mode="overwrite")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.take(created(1, v=1, address={"city": "a"}, lines=[{"sku": "x"}], ref={"$oid": "5" * 24}))
    return shop


def test_the_same_columns_pass_and_are_remembered(shop: Shop) -> None:
    first = check(shop)
    assert first.verdict is Verdict.PASS, first.text
    assert "No check has seen" in first.text
    shop.take(updated(1, v=2, address={"zip": 5}, lines=[{"qty": 1}], more=True))
    second = check(shop)
    assert second.verdict is Verdict.PASS, second.text
    assert "The current table has kept its" in second.text


def test_a_column_that_is_not_merged_yet_is_no_difference(shop: Shop) -> None:
    shop.write(created(2, v=1, fresh=True, address={"zip": 5}))
    starts = shop.changelog.open(shop.stream).offsets
    for batch in shop.log.reader({shop.stream: starts}).poll(0.0, 100):
        append_changes(shop.replica, Batch(batch))  # type: ignore[arg-type]
    found = check(shop)
    assert found.verdict is Verdict.PASS
    assert "2 more have no value in a merged row yet" in found.text


def test_a_column_that_the_current_table_lost_fails(shop: Shop) -> None:
    overwritten(shop.current, shop.current.rows().drop("v").collect())
    assert_failed(check(shop), "v is in the changelog alone")


def test_a_field_inside_a_column_that_the_current_table_lost_fails(shop: Shop) -> None:
    rows = shop.current.rows().with_columns(lines=pl.lit([{"other": 1}])).collect()
    overwritten(shop.current, rows)
    assert_failed(
        check(shop), "lines[].sku is in the changelog alone", "lines[].other is in the current table alone"
    )


def test_a_column_of_another_type_fails(shop: Shop) -> None:
    overwritten(shop.current, shop.current.rows().with_columns(pl.col("v").cast(pl.String)).collect())
    assert_failed(check(shop), "v is Int64 in the changelog and String in the current table")


def test_a_column_lost_or_changed_on_both_sides_is_missed_by_the_next_check(shop: Shop) -> None:
    check(shop)
    unlock(shop.changelog)
    for table in (shop.current, shop.changelog):
        rows = table.rows().drop("v").with_columns(pl.col("address").struct.rename_fields(["town"]))
        overwritten(table, rows.collect())
    found = check(shop)
    assert_failed(found, "The current table has not kept its columns", "v is gone", "address.city is gone")
    assert_failed(found, "The changelog table has not kept its columns", "ref was objectId and is String")
    assert check(shop, anew=True).verdict is Verdict.PASS
    assert check(shop).verdict is Verdict.PASS


def test_a_table_made_anew_is_unknown_once(shop: Shop, tmp_path: Path) -> None:
    check(shop)
    again = Shop(tmp_path / "again")
    again.take(created(1, w=1))
    again.notes = shop.notes
    found = check(again)
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FIRST_LOOK)
    assert check(again).verdict is Verdict.PASS


def test_a_table_without_rows_passes(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.take()
    assert check(shop).verdict is Verdict.PASS
    assert shop.current.rows().select(KEY).collect().is_empty()
