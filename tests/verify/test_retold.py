"""Where a key went wrong, over PostgreSQL's events: values that were not sent, truncations, partitions.

What a changelog or a source has otherwise than the topic is done to it on purpose; a reading of the topic has
to tell which of the two it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, TRUNCATE
from cdc_platform.core.digest import encoder, row_digest
from cdc_platform.core.position import Engine, metadata
from cdc_platform.decode.sql import SqlDecoder
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica, replicate
from cdc_platform.replicate.hearing import hear
from cdc_platform.replicate.rebuild import rebuild_current
from cdc_platform.replicate.truncation import Truncations
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.shape import Shape, Text
from cdc_platform.verify.stages import Known, stages
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.verdict import Stage
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import replica
from tests.replicate.sql_events import PLACEHOLDER, SqlTable

TOPIC: Final = "shop.public.orders"
PARTITIONS: Final = 3
NUMBERS: Final = range(6)
SHAPE: Final = Shape({"id": Text.ITSELF, "v": Text.ITSELF, "t": Text.ITSELF})
_encode: Final = encoder()
_PLACE: Final = [PARTITION, OFFSET]

Change = tuple[str, int]
"""What to do with the row of which number: ``put`` all of it, ``leave`` its large value alone, ``delete`` it,
or ``truncate`` the table into that number's partition."""

Damage = Callable[[pl.DataFrame, int], pl.DataFrame]
"""Done to the changelog's row of that number."""


@dataclass(frozen=True, slots=True)
class Now:
    """A position at which everything has happened."""

    title: str = "the end"

    def visible(self) -> pl.Expr:
        return pl.lit(value=True)

    def source(self) -> Mapping[str, object]:
        return {}


@dataclass(slots=True)
class World:
    """A table of PostgreSQL whose large value ``t`` is not sent when a change leaves it alone."""

    log: MemoryLog = field(default_factory=MemoryLog)
    source: dict[int, dict[str, Any]] = field(default_factory=dict)
    table: SqlTable = field(default_factory=SqlTable)
    count: int = 0
    lake: Replica = field(init=False)

    def __post_init__(self) -> None:
        stream = self.log.create(TOPIC, PARTITIONS)
        tables = [MemoryTable(f"memory://{n}", metadata(Engine.POSTGRESQL)) for n in ("changes", "now")]
        self.lake = replace(replica(stream, *tables), decode=SqlDecoder(Engine.POSTGRESQL))

    def do(self, *changes: Change) -> None:
        for what, number in changes:
            self.count += 1
            there = self.source.get(number)
            if what == "truncate":
                self.source.clear()
                self._tell(number, self.table.truncated())
            elif what == "delete" and there:
                del self.source[number]
                self._tell(number, self.table.deleted(**there))
            elif what in {"put", "leave"}:
                kept = there["t"] if there and what == "leave" else f"text {self.count}"
                row = {"id": number, "v": self.count, "t": kept}
                self.source[number] = row
                sent = {**row, "t": PLACEHOLDER} if there and what == "leave" else row
                self._tell(number, self.table.updated(**sent) if there else self.table.created(**sent))
        replicate(self.lake, self.log)

    def _tell(self, number: int, event: Any) -> None:
        self.log.write(TOPIC, number % PARTITIONS, event)

    def rows(self) -> pl.DataFrame:
        return self.lake.changelog.read(self.lake.changelog.open(self.lake.stream)).collect().sort(_PLACE)

    def put_rows(self, rows: pl.DataFrame) -> None:
        """Others' rows in the changelog, and the current state made of them."""
        table = self.lake.changelog
        handle = table.open(self.lake.stream)
        table.replace(handle, [rows], handle.logical, handle.offsets, {}, handle.positions, handle.begun)
        self.lake = replace(self.lake, truncations=Truncations())
        rebuild_current(self.lake, "a test")

    def told(self, *numbers: int, newest: int = 10_000) -> dict[int, tuple[Stage, str]]:
        """Of keys that differ from the source, which was read."""
        stream = self.lake.stream
        changelog, current = (
            Opened(table, table.open(stream)) for table in (self.lake.changelog, self.lake.current)
        )
        topic = Topic(
            stream,
            self.log,
            newest,
            time.monotonic,
            key_of=self.lake.decode.key_of,
            hear=partial(hear, self.lake),
        )
        known = Known(Now(), {}, SHAPE, {key_of(n): self._digest(n) for n in numbers})
        found = stages([key_of(n) for n in numbers], changelog, current, topic, known)
        assert all(found.values())
        return {n: each for n in numbers if (each := found[key_of(n)])}

    def wrong(self) -> list[int]:
        """Numbers of rows that the lake has otherwise than the source."""
        found = self.lake.current.read(self.lake.current.open(self.lake.stream)).select("id", "v", "t")
        there = {row["id"]: row for row in found.collect().to_dicts()}
        return [n for n in NUMBERS if there.get(n) != self.source.get(n)]

    def _digest(self, number: int) -> int | None:
        row = self.source.get(number)
        return None if row is None else row_digest(key_of(number), _encode(row))


def key_of(number: int) -> str:
    return orjson.dumps({"id": number}).decode()


KINDS: Final = ("put", "put", "leave", "leave", "delete", "truncate")
CHANGES: Final = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "leave", "leave", "delete", "truncate"]), st.sampled_from(NUMBERS)
    ),
    min_size=3,
    max_size=12,
)
NEWEST: Final = st.sampled_from([2, 10_000])
"""Offsets of a partition that are read again, at most."""


def lost(rows: pl.DataFrame, at: int) -> pl.DataFrame:
    return pl.concat([rows[:at], rows[at + 1 :]])


def changed(name: str, rows: pl.DataFrame, at: int) -> pl.DataFrame:
    other = {"v": pl.lit(-1, pl.Int64), "t": pl.lit("nobody's")}[name].alias(name)
    return pl.concat([rows[:at], rows[at : at + 1].with_columns(other), rows[at + 1 :]])


def forged(rows: pl.DataFrame, at: int) -> pl.DataFrame:
    """A row that has become a truncation."""
    one = rows[at : at + 1].with_columns(
        pl.lit(TRUNCATE).alias(OPERATION), pl.lit(None, pl.String).alias(KEY)
    )
    return pl.concat([rows[:at], one, rows[at + 1 :]])


DAMAGES: Final = {
    "an event is lost": lost,
    "a value is changed": partial(changed, "v"),
    "a large value is changed": partial(changed, "t"),
    "a truncation is forged": forged,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@settings(max_examples=25)
@given(changes=CHANGES, data=st.data(), newest=NEWEST)
def test_what_is_wrong_in_the_changelog_is_never_said_to_be_the_source_s(
    damage: Damage, changes: list[Change], data: st.DataObject, newest: int
) -> None:
    world = World()
    world.do(*changes)
    rows = world.rows()
    assume(rows.height)
    world.put_rows(damage(rows, data.draw(st.integers(0, rows.height - 1), label="row")))
    assume(wrong := world.wrong())
    found = world.told(*wrong, newest=newest)
    allowed = {Stage.CHANGELOG} if newest > len(changes) else {Stage.CHANGELOG, Stage.UNKNOWN}
    assert {stage for stage, _ in found.values()} <= allowed, found


@settings(max_examples=25)
@given(changes=CHANGES, number=st.sampled_from(NUMBERS), newest=NEWEST)
def test_what_the_topic_never_told_is_never_said_to_be_the_changelog_s(
    changes: list[Change], number: int, newest: int
) -> None:
    world = World()
    world.do(*changes)
    there = world.source.pop(number, None)
    if there is None:
        world.source[number] = {"id": number, "v": -1, "t": "in silence"}
    [(stage, told)] = world.told(number, newest=newest).values()
    allowed = {Stage.TOPIC} if newest > len(changes) else {Stage.TOPIC, Stage.UNKNOWN}
    assert stage in allowed, told


def test_a_truncation_that_the_changelog_lacks_is_found_in_another_partition() -> None:
    world = World()
    world.do(("put", 0), ("put", 1), ("put", 2), ("truncate", 1), ("put", 2))
    rows = world.rows()
    world.put_rows(rows.filter(pl.col(OPERATION) != TRUNCATE))
    assert world.wrong() == [0, 1]
    told = (Stage.CHANGELOG, "Kafka's 1:1 is not in the changelog")
    assert world.told(0) == {0: told}, "no row of its own partition tells of it"
    assert world.told(1) == {1: told}


def test_a_value_that_was_not_sent_is_held_against_the_record_that_sent_it() -> None:
    world = World()
    world.do(("put", 0), *[("leave", 0)] * 3)
    rows = world.rows()
    world.put_rows(changed("t", rows, 3))
    assert world.told(0) == {0: (Stage.CHANGELOG, "the changelog has 0:3 otherwise than Kafka")}
    [(stage, told)] = world.told(0, newest=2).values()
    assert (stage, told.endswith("were read from 0:2 on only")) == (Stage.UNKNOWN, True)
