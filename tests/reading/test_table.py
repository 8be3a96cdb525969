"""What a reader gets of a table, in each format, and what it is told when that is not there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.columns import KEY, METADATA, OFFSET, OPERATION
from cdc_platform.core.errors import Terminal
from cdc_platform.core.history import CHANGE, REBUILT, Forgotten
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.platform import lake_of, table_name
from cdc_platform.reading import Table, open_table
from cdc_platform.replicate.replay import replay
from tests.reading.shop import SOURCE, TOPIC, Shop, shop
from tests.replicate.events import created, deleted, tombstone, updated


@pytest.fixture(params=list(Format))
def orders(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Merged: a and b. In the changelog beyond: another a, a new column, b deleted, c; in two partitions."""
    made = shop(tmp_path, request.param)
    made.append(created("a", v=1), created("b", v=1))
    made.merge()
    made.append(updated("a", v=2, note="new"), deleted("b"), tombstone("b"))
    made.append(created("c", v=1), partition=1)
    return made


@pytest.fixture
def table(orders: Shop) -> Table:
    return orders.table


def values(rows: pl.LazyFrame | pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(rows.lazy().select("_id", "v").collect().rows(), key=repr)


def test_the_current_state_is_what_was_merged_and_the_latest_is_as_fresh_as_the_changelog(
    orders: Shop, table: Table
) -> None:
    assert values(table.current.rows()) == [("a", 1), ("b", 1)]
    assert values(table.latest()) == [("a", 2), ("c", 1)]
    assert table.latest().collect_schema().names() == [*METADATA, "_id", "v", "note"]
    before = table.latest().collect()
    orders.merge()
    assert values(table.current.rows()) == values(table.latest()) == values(before)
    assert table.latest().collect_schema() == before.schema


def test_metadata_can_be_left_out(table: Table) -> None:
    assert table.current.rows(metadata=False).collect_schema().names() == ["_id", "v"]
    assert table.latest(metadata=False).collect_schema().names() == ["_id", "v", "note"]
    kept = [OPERATION, "_id", "v", "note"]
    assert table.changelog.since({}, metadata=False).rows.collect_schema().names() == kept
    assert table.current.changes(0, metadata=False).rows.columns == [CHANGE, "_commit_version", "_id", "v"]


def test_the_state_and_the_changes_after_it_join_up(orders: Shop, table: Table) -> None:
    state = table.state()
    assert state.offsets == {0: 5, 1: 1}
    assert table.changelog.since(state.offsets).rows.collect().is_empty()
    orders.append(updated("c", v=2), partition=1)
    batch = table.changelog.since(state.offsets)
    assert batch.rows.select(KEY, OPERATION, "v").collect().rows() == [('"c"', "u", 2)]
    assert (batch.offsets, batch.behind) == ({0: 5, 1: 2}, 0)


def test_who_is_far_behind_reads_in_bounded_batches(orders: Shop, table: Table) -> None:
    orders.append(*(created(n, v=n) for n in range(20)))
    read, offsets, seen = 0, dict[int, int](), []
    for batch in table.changelog.batches({}, limit=4):
        rows = batch.rows.collect()
        assert rows.height <= 4
        assert batch.behind < 26 - read
        read, offsets = read + rows.height, dict(batch.offsets)
        seen += rows.select("_kafka_partition", OFFSET).rows()
    assert offsets == table.changelog.offsets() == {0: 25, 1: 1}
    whole = table.changelog.since({})
    assert sorted(seen) == whole.rows.select("_kafka_partition", OFFSET).collect().rows()
    assert read == 25, "a tombstone has an offset, and no row"
    assert table.changelog.since({0: 25}).offsets == {0: 25, 1: 1}


def test_batches_end_at_what_was_committed_when_they_began(orders: Shop, table: Table) -> None:
    ends = []
    for batch in table.changelog.batches({}, limit=2):
        orders.append(created(len(ends), v=0))
        ends.append(batch.offsets)
        assert batch.rows.collect().height <= 2
    assert ends[-1] == {0: 5, 1: 1}


def test_changes_between_versions_have_the_images_before_and_after(orders: Shop, table: Table) -> None:
    before = table.current.version()
    orders.merge()
    found = table.current.changes(before)
    assert sorted(found.rows.select(CHANGE, "_id", "v", "note").rows(), key=repr) == [
        ("delete", "b", 1, None),
        ("insert", "c", 1, None),
        ("update_postimage", "a", 2, "new"),
        ("update_preimage", "a", 1, None),
    ]
    assert found.upto == table.current.version()
    assert found.rows.columns[:3] == [CHANGE, "_commit_version", KEY]
    nothing = table.current.changes(found.upto)
    assert (nothing.rows.height, nothing.upto) == (0, found.upto)
    assert table.current.changes(before, before).rows.columns[:3] == found.rows.columns[:3]
    with pytest.raises(Terminal, match="does not come before"):
        table.current.changes(found.upto, before)


def test_changes_over_a_rebuild_are_refused_with_the_version_to_go_on_from(table: Table) -> None:
    stored = table.current.table
    handle, before = stored.snapshot()[0], table.current.version()
    rows = stored.read(handle).collect().with_columns(v=pl.lit("other"))
    made = stored.replace(handle, [rows], rows.schema, handle.offsets, {REBUILT: "a new snapshot"})
    with pytest.raises(Forgotten, match=f"rebuilt in version {made.version}") as raised:
        table.current.changes(before)
    assert f"rows(at={made.version})" in raised.value.remedy
    assert values(table.current.rows(at=made.version)) == [("a", "other"), ("b", "other")]
    assert values(table.current.rows(at=before)) == [("a", 1), ("b", 1)]
    assert table.current.changes(made.version).rows.is_empty()


def test_rows_put_in_later_are_among_the_changes_between_versions(orders: Shop, table: Table) -> None:
    """A dead letter that is a row now lies at an offset that a consumer by offsets has passed."""
    orders.append((b'{"id": "\\"x\\""}', b"no event"))
    before, offsets = table.changelog.version(), table.changelog.offsets()
    log = orders.log.topics[TOPIC].partitions[0]
    log.slots[-1] = created("x", v=9)
    replay(orders.writer, orders.log, {0: Range(len(log.slots) - 1, len(log.slots))})
    assert table.changelog.since(offsets).rows.collect().is_empty()
    assert values(table.changelog.changes(before).rows) == [("x", 9)]
    assert ("x", 9) in values(table.latest())


def test_a_past_state_is_had_by_version_and_by_time(orders: Shop, table: Table) -> None:
    merged = table.current.version()
    then = datetime.now(UTC)
    orders.merge()
    assert values(table.current.rows(merged)) == values(table.current.rows(then)) == [("a", 1), ("b", 1)]
    assert values(table.current.rows(then + timedelta(days=1))) == values(table.latest())
    assert "note" not in table.current.rows(merged).collect_schema()
    assert len(values(table.changelog.rows(then))) == 5
    assert values(table.current.changes(then).rows) == values(table.current.changes(merged).rows)


def test_versions_tell_when_they_were_made_and_what_they_did(table: Table) -> None:
    found = table.changelog.versions().filter(pl.col("ours") & (pl.col("offsets") != ""))
    assert found["offsets"].to_list() == ["0:[0,2)", "0:[2,5)", "1:[0,1)"]
    assert found["applied"].to_list() == [2, 2, 1]
    assert found["committed_at"].is_sorted()
    newest = table.changelog.versions(last=1)
    assert newest["version"].to_list() == [table.changelog.version()]


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        (lambda table: table.current.rows(99), "there is no version 99: the newest one is"),
        (lambda table: table.current.rows(-1), "there is no version -1"),
        (lambda table: table.current.rows(datetime(2020, 1, 1, tzinfo=UTC)), "the table was not there yet"),
        (lambda table: table.current.rows(datetime(2020, 1, 1)), "has no time zone"),
        (lambda table: table.changelog.since({0: 6}), r"offsets \{0: 6\} are not committed"),
        (lambda table: table.changelog.since({7: 1}), r"offsets \{7: 1\} are not committed"),
        (lambda table: table.changelog.since({0: -1}), r"offsets \{0: -1\} are not committed"),
    ],
)
def test_what_is_not_there_is_said_with_a_remedy(
    table: Table, asks: Callable[[Table], object], told: str
) -> None:
    with pytest.raises(Terminal, match=told) as raised:
        asks(table)
    assert raised.value.where
    assert raised.value.remedy


def test_a_version_that_was_cleaned_away_is_said_to_be_gone(orders: Shop, table: Table) -> None:
    old = table.current.version()
    orders.merge()
    lake = lake_of(orders.settings, orders.format)
    while datetime.now(UTC) - table.current.versions()["committed_at"][-1] < timedelta(milliseconds=20):
        pass  # the clock moves on past the newest commit
    assert lake.clean(table_name(SOURCE, "orders", Kind.CURRENT), 0)
    with pytest.raises(Forgotten, match=str(old)):
        table.current.rows(old)
    assert values(table.current.rows()) == [("a", 2), ("c", 1)]


def test_a_table_without_a_commit_is_not_made_by_reading_it(tmp_path: Path) -> None:
    for stored in Format:
        table = shop(tmp_path, stored).table
        for asks in (table.latest, table.current.rows, table.current.versions, table.changelog.offsets):
            with pytest.raises(Terminal, match="no such table yet") as raised:
                asks()
            assert "CDC_LAKE_ROOT" in raised.value.remedy
        assert not table.current.table.exists()
        assert not table.changelog.table.exists()


def test_before_the_first_merge_the_latest_is_all_in_the_changelog(tmp_path: Path) -> None:
    for stored in Format:
        made = shop(tmp_path, stored)
        made.append(created("a", v=1), updated("a", v=2), created("b", v=1), deleted("b"))
        assert values(made.table.latest()) == [("a", 2)]
        assert not made.table.current.table.exists()


@pytest.mark.parametrize(
    ("names", "stored", "told"),
    [
        (("shop", "order"), None, "no table 'order'"),
        (("store", "orders"), None, "no source 'store'"),
        (("shop", "customers"), "delta", "no format 'delta'"),
        (("shop", "orders"), "hudi", "no format 'hudi'"),
    ],
)
def test_a_name_that_is_not_declared_is_refused_with_those_that_are(
    tmp_path: Path, names: tuple[str, str], stored: str | None, told: str
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "defs.yaml").write_text(
        "attributes: {name: shop, uri: 'mongodb://x', database: shop, collections: [orders, customers], "
        "formats: [delta, iceberg], collection_formats: {customers: [iceberg]}}"
    )
    with pytest.raises(Terminal, match=told) as raised:
        open_table(*names, format=stored, sources=tmp_path)
    assert "name one of: " in raised.value.remedy
    assert open_table("shop", "customers", sources=tmp_path).current.uri.startswith("iceberg:")
