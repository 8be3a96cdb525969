"""Up to when a table is proven: what is told of it, and that it is of this very table."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.offsets import Stream
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.proven import proven_through
from cdc_platform.platform import lake_of, lake_table, notes, table_name
from cdc_platform.verify.notes import Proven, Reading
from tests.cli.calling import cdc, declare, document, unused_port

SOURCE = Source(name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders",))
TARGET = Target("orders", Format.DELTA)
STREAM = Stream("cluster", SOURCE.topic("orders"), "an id", 3)
THROUGH = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
LATER = THROUGH + timedelta(seconds=90)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        kafka_bootstrap=f"127.0.0.1:{unused_port()}",
        kafka_seconds=1,
        lake_root=tmp_path / "lake",
        state_dir=tmp_path,
    )


def made(settings: Settings) -> None:
    for kind in Kind:
        lake_table(settings, SOURCE, "orders", kind).open(STREAM)


def keep(settings: Settings) -> None:
    """As a proof of every row does when it passes."""
    history = lake_of(settings, Format.DELTA).history(table_name(SOURCE, "orders", Kind.CURRENT))
    reading = Reading(at="1795000000.1", source_time=THROUGH, taken_at=THROUGH)
    note = Proven(
        identity=history.identity(),
        version=0,
        rows=0,
        stream=STREAM.identity,
        since={},
        shape="",
        last=reading,
        whole=reading,
        through=reading,
    )
    notes(settings, SOURCE, TARGET).keep(Kind.CURRENT, note)


def test_a_table_tells_up_to_when_it_is_proven_and_how_long_ago_that_was(settings: Settings) -> None:
    made(settings)
    keep(settings)
    told = proven_through(settings, SOURCE, TARGET, LATER)
    assert told["cdc/valid_through"].value == told["cdc/checked_through"].value == THROUGH.timestamp()
    assert told["cdc/unproven_seconds"].value == 90.0


def test_a_table_that_was_never_proven_or_is_not_there_tells_nothing(settings: Settings) -> None:
    assert proven_through(settings, SOURCE, TARGET, LATER) == {}
    made(settings)
    assert proven_through(settings, SOURCE, TARGET, LATER) == {}


def test_a_table_that_was_made_anew_is_not_proven_by_what_was_proven_of_the_other(settings: Settings) -> None:
    made(settings)
    keep(settings)
    shutil.rmtree(settings.lake_root / "delta" / "shop" / "orders")  # type: ignore[operator]
    made(settings)
    assert proven_through(settings, SOURCE, TARGET, LATER) == {}


def test_the_inventory_shows_up_to_when_each_current_table_is_proven(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(settings)
    keep(settings)
    declare(tmp_path / "sources", "shop", collections=["orders"])
    env = {
        f"CDC_{name.upper()}": str(getattr(settings, name))
        for name in ("kafka_bootstrap", "kafka_seconds", "lake_root", "state_dir")
    }
    words = ("--sources", str(tmp_path / "sources"), "tables")
    found = document(cdc(*words, "--json", env=env))["tables"]
    assert {each["kind"]: each["proven_through"] for each in found} == {
        "changelog": None,
        "current": "2026-11-21T21:00:00+00:00",
    }
    assert "2026-11-21 21:00:00Z" in cdc(*words, env=env).stdout
