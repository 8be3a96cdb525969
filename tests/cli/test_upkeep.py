"""``cdc upkeep`` on real tables: it needs neither Kafka nor MongoDB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import holds, lake_of, letters_table, table_name, utc_now
from tests.cli.calling import cdc, declare, document
from tests.cli.conftest import Nowhere
from tests.lake.contract import add
from tests.lake.rows import STREAM, row

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders", "customers"))


@pytest.fixture
def lake(nowhere: Nowhere) -> Nowhere:
    """The changelogs of two tables in two formats, five files each, and letters of one."""
    declare(Path(nowhere.sources), "shop", formats=["delta", "iceberg"])
    settings = where(nowhere)
    for stored in Format:
        for name in SOURCE.collections:
            changes = lake_of(settings, stored).table(
                table_name(SOURCE, name, Kind.CHANGELOG), Kind.CHANGELOG
            )
            for n in range(5):
                add(changes, [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
    letters_table(settings, SOURCE, "orders").open(replace(STREAM, topic=SOURCE.topic("orders")))
    return nowhere


def where(nowhere: Nowhere) -> Settings:
    return Settings(
        lake_root=Path(nowhere.env["CDC_LAKE_ROOT"]), state_dir=Path(nowhere.env["CDC_STATE_DIR"])
    )


def test_every_table_in_every_format_has_a_line(lake: Nowhere) -> None:
    result = cdc("--sources", lake.sources, "upkeep", "shop", env=lake.env)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "orders (changelog, delta): 5 files before, 1 after, 0 removed",
        "orders (dead letters, delta): 0 files before, 0 after, 0 removed",
        "orders (changelog, iceberg): 5 files before, 1 after, 0 removed",
        "customers (changelog, delta): 5 files before, 1 after, 0 removed",
        "customers (changelog, iceberg): 5 files before, 1 after, 0 removed",
        "5 lake tables kept up",
    ]


def test_each_part_can_be_had_alone_and_for_some_tables(lake: Nowhere) -> None:
    words = ("--sources", lake.sources, "upkeep", "shop", "customers", "--json")
    told = document(cdc(*words, "--no-clean", env=lake.env))
    assert [(each["files_after"], each["files_removed"]) for each in told["tables"]] == [(1, None)] * 2
    told = document(cdc(*words, "--no-compact", "--hours", "1", env=lake.env))
    assert [(each["files_after"], each["files_removed"]) for each in told["tables"]] == [(None, 0)] * 2
    assert [(each["table"], each["contents"], each["format"]) for each in told["tables"]] == [
        ("customers", "changelog", "delta"),
        ("customers", "changelog", "iceberg"),
    ]


def test_a_table_that_cannot_be_kept_up_is_named_after_the_others(lake: Nowhere) -> None:
    broken = Path(lake.env["CDC_LAKE_ROOT"]) / "delta" / "shop" / "orders_changes" / "_delta_log"
    next(broken.glob("*0.json")).write_text("{")
    result = cdc("--sources", lake.sources, "upkeep", "shop", env=lake.env)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1] == "4 lake tables kept up, 1 could not be"
    assert "error: orders (changelog, delta): the table could not be kept up" in result.stderr
    assert "what to do: " in result.stderr
    told = document(cdc("--sources", lake.sources, "upkeep", "shop", "--json", env=lake.env))
    [failed] = told["failed"]
    assert (failed["table"], failed["format"], len(told["tables"])) == ("orders", "delta", 4)


def test_a_paused_table_is_left_as_it_is(lake: Nowhere) -> None:
    holds(where(lake), SOURCE).hold("orders", "being repaired", utc_now())
    result = cdc("--sources", lake.sources, "upkeep", "shop", "--json", env=lake.env)
    assert {each["table"] for each in document(result)["tables"]} == {"customers"}
    assert document(result)["held"] == ["orders"]
    assert "being repaired" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("store",), "no source 'store'"),
        (("shop", "order"), "no table 'order'"),
        (("shop", "--no-compact", "--no-clean"), "nothing to do"),
        (("shop", "--hours", "0"), "hours"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(nowhere: Nowhere, words: tuple[str, ...], told: str) -> None:
    result = cdc("--sources", nowhere.sources, "upkeep", *words, env=nowhere.env)
    assert result.exit_code == 2
    assert told in result.stderr


def test_it_shows_an_example_of_itself() -> None:
    assert "cdc upkeep shop" in cdc("upkeep", "--help").stdout.partition("Example")[2]
