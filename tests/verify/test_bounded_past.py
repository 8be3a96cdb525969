"""``cdf_integrity`` of tables that forget their past as they are written: what is remembered is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.model import Format, Kind
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.lake.iceberg.history import IcebergHistory
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.replicate import replicate
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.integrity import cdf_integrity
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.verdict import Cause, Verdict
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica
from tests.verify.shop import NOW, PARTITIONS, TOPIC

REMEMBERED = 3


class Forgetful:
    """The collection of a shop in Iceberg tables that remember their last few snapshots."""

    def __init__(self, catalog: SqlCatalog, folder: Path) -> None:
        self.catalog = catalog
        self.log = MemoryLog()
        stream = self.log.create(TOPIC, PARTITIONS)
        self.tables = {
            kind: IcebergLakeTable(lambda: catalog, ("shop", kind.value), kind, remembered=REMEMBERED)
            for kind in Kind
        }
        self.replica = replica(stream, self.tables[Kind.CHANGELOG], self.tables[Kind.CURRENT])
        self.notes = Notes(folder / "checks", "orders", Format.ICEBERG)
        self.take(*(created(n, v=n) for n in range(20)))

    def take(self, *events: Visible) -> None:
        for event in events:
            assert event[0] is not None
            self.log.write(TOPIC, sum(event[0]) % PARTITIONS, event)
        replicate(self.replica, self.log)

    def live(self, batches: int) -> None:
        for n in range(batches):
            self.take(updated(n % 20, v=n + 0.5), created(100 + n), deleted(100 + n))

    def integrity(self) -> Finding:
        changelog, current = (
            Place(self.tables[kind], IcebergHistory(lambda: self.catalog, ("shop", kind.value)))
            for kind in Kind
        )
        return cdf_integrity("orders", changelog, current, self.replica.stream, self.notes, NOW)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Forgetful]:
    catalog = on_sqlite("lake", tmp_path / "catalog.db", tmp_path.as_uri())
    yield Forgetful(catalog, tmp_path)
    catalog.close()


def test_as_long_as_all_is_remembered_the_whole_past_is_followed(shop: Forgetful) -> None:
    shop.live(2)
    first = shop.integrity()
    assert first.verdict is Verdict.PASS, first.text
    assert "when it was made" in first.text
    shop.live(1)
    assert "verified on" in shop.integrity().text


def test_what_is_remembered_is_followed_and_what_was_verified_is_still_there(shop: Forgetful) -> None:
    assert shop.integrity().verdict is Verdict.PASS
    shop.live(4 * REMEMBERED)
    found = shop.integrity()
    assert found.verdict is Verdict.PASS, found.text
    assert "from which on all are remembered" in found.text
    assert "20 rows of the changelog that were verified" in found.text


def test_a_first_look_at_a_changelog_that_has_forgotten_its_creation_is_unknown(shop: Forgetful) -> None:
    shop.live(4 * REMEMBERED)
    found = shop.integrity()
    assert (found.verdict, found.cause) == (Verdict.UNKNOWN, Cause.FIRST_LOOK)
    shop.live(1)
    assert shop.integrity().verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("key", "verdict"),
    [("15", Verdict.FAIL), ("7", Verdict.UNKNOWN)],
    ids=["the fold lacks it", "a later row stands for it"],
)
def test_rows_that_vanish_while_the_past_is_forgotten_are_never_passed(
    shop: Forgetful, key: str, verdict: Verdict
) -> None:
    assert shop.integrity().verdict is Verdict.PASS
    shop.catalog.load_table(("shop", "changelog")).delete(f"_key = '{key}'")
    shop.live(4 * REMEMBERED)
    assert shop.integrity().verdict is verdict


def test_a_row_changed_past_the_platform_is_found_in_what_is_remembered(shop: Forgetful) -> None:
    assert shop.integrity().verdict is Verdict.PASS
    shop.live(4 * REMEMBERED)
    shop.catalog.load_table(("shop", "current")).delete("_key = '3'")
    found = shop.integrity()
    assert found.verdict is Verdict.FAIL
    assert "Not made by this platform" in found.text or "3 missing" in found.text
