"""Checks of tables that were rebuilt since the last one: they begin at the rebuild, and miss nothing after
it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from cdc_platform.core.columns import KEY
from cdc_platform.core.history import REBUILT
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.committed import commits_are_whole
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.schema import schema_consistent
from cdc_platform.verify.verdict import Verdict
from tests.replicate.events import created, deleted, updated
from tests.verify.shop import NOW, Shop, delta, unlock
from tests.verify.test_bounded_past import REMEMBERED, Forgetful


def rebuilt(table: LakeTable, stream: Stream) -> Handle:
    """The same rows, with ``v`` as text and without ``name``."""
    handle = table.open(stream)
    rows = unstored(table.read(handle).collect(), handle.logical)
    rows = rows.drop("name", strict=False).with_columns(pl.col("v").cast(pl.String))
    info = {REBUILT: "a new snapshot"}
    return table.replace(handle, [rows], rows.schema, handle.offsets, info, handle.positions)


@pytest.fixture
def shop(lively: Shop) -> Shop:
    lively.integrity()
    lively.take(updated(7, name="before"), created(50, v=1), deleted(8))
    for table in (lively.changelog, lively.current):
        rebuilt(table, lively.stream)
    return lively


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Forgetful]:
    catalog = on_sqlite("lake", tmp_path / "catalog.db", tmp_path.as_uri())
    shop = Forgetful(catalog, tmp_path)
    shop.integrity()
    for table in shop.tables.values():
        rebuilt(table, shop.replica.stream)
    yield shop
    catalog.close()


def passes(found: Finding, *words: str) -> None:
    assert found.verdict is Verdict.PASS, found.text
    for word in words:
        assert word in found.text
    assert "Not made by this platform" not in found.text


def fails(found: Finding, *words: str) -> None:
    assert found.verdict is Verdict.FAIL, found.text
    for word in words:
        assert word in found.text


def columns_of(shop: Shop) -> Finding:
    places = shop.place(Kind.CHANGELOG), shop.place(Kind.CURRENT)
    return schema_consistent("orders", *places, shop.stream, shop.notes, NOW)


def test_a_check_begins_at_the_rebuild_and_the_next_one_at_that_check(shop: Shop) -> None:
    shop.take(updated(7, w=1), created(60, w=2), deleted(60))
    passes(shop.integrity(), "which rebuilt it", "The changelog was only appended to from version")
    shop.take(updated(7, w=3))
    passes(shop.integrity(), "verified on")


def test_a_first_look_at_a_rebuilt_table_begins_at_the_rebuild(shop: Shop) -> None:
    for note in shop.notes.folder.iterdir():
        note.unlink()
    passes(shop.integrity(), "which rebuilt it")


def test_of_two_rebuilds_the_later_one_is_the_beginning(shop: Shop) -> None:
    shop.take(created(60, w=2))
    versions = [rebuilt(table, shop.stream).version for table in (shop.changelog, shop.current)]
    found = shop.integrity()
    passes(found, f"from version {versions[1]}, which rebuilt it")


DAMAGE: dict[str, tuple[Callable[[Shop], object], str]] = {
    "a current row deleted": (lambda shop: delta(shop.current).delete(f"{KEY} = '7'"), "7 missing"),
    "a current row changed": (
        lambda shop: delta(shop.current).update(updates={"v": "'99'"}, predicate=f"{KEY} = '7'"),
        "7 different",
    ),
    "a changelog row deleted": (
        lambda shop: unlock(shop.changelog).delete(f"{KEY} = '7'"),
        "The changelog was not only appended to",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("checked", [True, False], ids=["after a check", "before any check"])
def test_damage_after_a_rebuild_is_found(shop: Shop, damage: str, *, checked: bool) -> None:
    if checked:
        passes(shop.integrity())
    strike, told = DAMAGE[damage]
    strike(shop)
    fails(shop.integrity(), told)
    shop.take(created(61, w=1))
    fails(shop.integrity())


def test_a_rebuild_that_brought_other_rows_than_the_changelog_fails(shop: Shop) -> None:
    handle = shop.current.open(shop.stream)
    rows = unstored(shop.current.read(handle).collect(), handle.logical).filter(pl.col(KEY) != "7")
    shop.current.replace(handle, [rows], rows.schema, handle.offsets, {REBUILT: "a mistake"})
    fails(shop.integrity(), "7 missing")


def test_columns_that_came_with_a_rebuild_are_accepted_and_said(lively: Shop) -> None:
    assert columns_of(lively).verdict is Verdict.PASS
    for table in (lively.changelog, lively.current):
        rebuilt(table, lively.stream)
    lively.take(created(60, w=1))
    passes(columns_of(lively), "was rebuilt in version", "name is gone", "v was Int64 and is String")
    passes(columns_of(lively), "The current table has kept its")


def test_columns_lost_after_a_rebuild_are_missed(lively: Shop) -> None:
    columns_of(lively)
    for table in (lively.changelog, lively.current):
        rebuilt(table, lively.stream)
    unlock(lively.changelog)
    for table in (lively.changelog, lively.current):
        rows = table.rows().drop("lines").collect().to_arrow()
        write_deltalake(delta(table), rows, mode="overwrite", schema_mode="overwrite")
    fails(columns_of(lively), "which rebuilt it", "lines is gone")


def test_commits_from_before_a_rebuild_promise_no_rows(shop: Shop) -> None:
    place, handle = shop.place(Kind.CHANGELOG), shop.changelog.open(shop.stream)
    rows = shop.changelog.read(handle).head(3).collect()
    made = shop.changelog.replace(handle, [rows], rows.schema, {0: 2}, {})
    found = commits_are_whole(Opened(shop.changelog, made), place.history)
    assert (found.verdict, "rebuilt the table" in found.text) == (Verdict.PASS, True)


def test_a_table_that_forgets_its_past_remembers_its_rebuild(forgetful: Forgetful) -> None:
    forgetful.take(created(200, w=1))
    passes(forgetful.integrity(), "which rebuilt it")


def test_a_rebuild_long_ago_is_where_a_forgetful_changelog_begins(forgetful: Forgetful) -> None:
    for n in range(4 * REMEMBERED):
        forgetful.take(updated(n % 20, w=n), created(100 + n, w=1), deleted(100 + n))
    found = forgetful.integrity()
    passes(found, "20 rows of the changelog that version", "rebuilt it with are there")
    forgetful.catalog.load_table(("shop", "current")).delete("_key = '3'")
    fails(forgetful.integrity(), "3 missing")
