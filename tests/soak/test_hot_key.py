"""One document changed a million times: one row, every change once, and memory that does not grow with them.

``CDC_SOAK_HOT_CHANGES`` sets their number.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from pymongo import UpdateOne

from cdc_platform.core.model import Kind
from cdc_platform.local.stack import Stack
from cdc_platform.verify.verdict import Verdict
from tests.soak.conftest import Notes
from tests.soak.memory import watched
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.crash import oracle
from tests.stack.crash.processes import children
from tests.stack.crash.shopping import files
from tests.stack.lake import Lake

CHANGES = int(os.environ.get("CDC_SOAK_HOT_CHANGES", "1000000"))
STEP = 20_000
PEAK = 2_000
"""Megabytes, with the default limits: 100,000 records are decoded at once while as many rows are merged."""
GROWTH = 1.25
"""At most so much more in the last third of the draining than in the second; in the first it warms up."""

pytestmark = [pytest.mark.soak, pytest.mark.stack, pytest.mark.timeout(600 + CHANGES // 400)]


def test_one_key_changed_a_million_times_is_one_row_and_every_change(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path, notes: Notes
) -> None:
    lake = Lake(stack, declare("counters"), tmp_path)
    lake.deploy()
    write(mongo, lake, notes)
    began = notes.passed
    with children(lake.source, lake.settings, tmp_path) as processes:
        drained = processes.writer("--once")
        with watched(drained.pid) as memory:
            drained.succeeded(within=60 + CHANGES / 2_000)
    seconds = round(notes.passed - began, 1)
    notes.say(f"drained in {seconds} s, at most {memory.peak} MB: {memory.parts(10)}")
    result = lake.prove("counters")
    assert result.verdict is Verdict.PASS, result.text
    assert_every_change_is_kept(lake)
    assert lake.current("counters").select("_id", "n").rows() == [(1, CHANGES)]
    _, middle, last = memory.parts(3)
    assert memory.peak < PEAK
    assert last < GROWTH * middle, memory.parts(10)
    notes.keep(changes=CHANGES, drain_seconds=seconds, peak_mb=memory.peak, parts_mb=memory.parts(10))


def write(mongo: Mongo, lake: Lake, notes: Notes) -> None:
    """Returns when about all of it is in Kafka."""
    counters = mongo[lake.source.database]["counters"]
    counters.insert_one({"_id": 1, "n": 0, "padding": "x" * 100})
    for first in range(1, CHANGES + 1, STEP):
        numbers = range(first, min(first + STEP, CHANGES + 1))
        counters.bulk_write([UpdateOne({"_id": 1}, {"$set": {"n": n}}) for n in numbers])
        if numbers[-1] % (5 * STEP) == 0:
            notes.say(f"{numbers[-1]} changes written, {lake.waiting('counters')} in Kafka")
    eventually(lambda: lake.waiting("counters") > CHANGES, within=60 + CHANGES / 1_000)
    notes.say("all of them are in Kafka")


def assert_every_change_is_kept(lake: Lake) -> None:
    """Exactly once, in their order."""
    changelog = files(lake, "counters", Kind.CHANGELOG)
    expected = oracle.delivered(lake.settings.kafka_bootstrap, lake.source.topic("counters"))
    assert not (differing := oracle.difference(expected, oracle.held(changelog))), str(differing)
    rows = changelog.rows().sort("_kafka_offset").select(pl.col("n").cast(pl.Int64)).collect()
    assert rows["n"].equals(pl.int_range(CHANGES + 1, eager=True).alias("n"))
