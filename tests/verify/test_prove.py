"""Proofs over a source, a log and a lake in memory: every damage is found and named, nothing unproven
passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import polars as pl
import pytest

from cdc_platform.core.columns import KEY
from cdc_platform.core.errors import StreamReplaced, Transient
from cdc_platform.core.offsets import Stream
from cdc_platform.prove import prove
from cdc_platform.verify.shape import Shape, Text
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.verdict import Cause, Kind, OpenLetter, Result, Unprovable, Verdict
from tests.verify.world import MARKERS, STREAM, Lake, World


@pytest.fixture
def world() -> World:
    """20 keys, replicated; then every fifth was updated and key 0 deleted, replicated as well."""
    world = World()
    for key in range(20):
        world.source.change(
            key, {"_id": key, "v": key + 0.5, "name": None if key % 2 else "x"}, operation="c"
        )
    for key in range(5, 20, 5):
        world.source.change(key, {"_id": key, "v": 0, "name": "y"})
    world.source.change(0, None)
    world.source.sent = len(world.source.history)
    world.drain()
    return world


def test_an_equal_lake_passes_with_counts_and_digests(world: World) -> None:
    result = world.prove()
    assert result.verdict is Verdict.PASS
    assert result.source_digest == result.lake_digest
    assert (result.counts.source, result.counts.lake, result.counts.current, result.counts.folded) == (
        19,
    ) * 4
    assert result.counts.changelog == {"c": 20, "d": 1, "u": 3}
    assert result.seconds > 0
    assert "equals the source" in result.text


def test_changes_after_the_position_do_not_disturb_the_proof(world: World) -> None:
    def later() -> None:
        world.source.second += 1
        world.source.change(1, {"_id": 1, "v": 99})
        world.source.change(2, None)
        world.source.change(0, {"_id": 0, "v": 1})
        world.source.change(50, {"_id": 50})

    world.truth.after_position = later
    result = world.prove()
    assert result.verdict is Verdict.PASS
    assert result.counts.reverted == 4
    assert (result.counts.source, result.counts.current) == (19, 20)


def test_the_markers_topic_may_come_to_be_with_the_marker(world: World) -> None:
    world.log.markers_exist = False
    assert world.prove().verdict is Verdict.PASS


def test_a_marker_read_by_an_initial_snapshot_is_not_counted_until_it_comes_as_a_change(world: World) -> None:
    operations = itertools.chain(["r"], itertools.repeat("u"))
    world.truth.on_mark = lambda marker: world.log.mark(marker, next(operations))
    assert world.prove().verdict is Verdict.PASS
    assert len(world.log.markers) == 3


def test_a_table_without_a_key_is_not_proven(world: World) -> None:
    world.truth.known = Shape({"v": Text.ITSELF}, keyed=False)
    result = world.prove()
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.NO_KEY)
    assert "give the table a primary key" in result.reason


def test_columns_that_the_source_has_no_more_are_not_compared_and_named(world: World) -> None:
    world.truth.known = Shape({"_id": Text.ITSELF, "v": Text.ITSELF, "name": Text.ITSELF})
    rows = world.lake.current.read(world.lake.current.open(STREAM)).collect()
    assert world.prove().verdict is Verdict.PASS
    world.lake.damage(world.lake.current, lambda _: rows.with_columns(dropped=pl.lit("x")))
    result = world.prove()
    assert result.verdict is Verdict.PASS
    assert result.beyond == ("dropped",)
    assert result.text.endswith("Not compared, as the source does not have them any more: dropped.")


def test_a_difference_says_what_the_source_s_catalog_has_to_add(world: World) -> None:
    columns = {"_id": Text.ITSELF, "v": Text.ITSELF, "name": Text.ITSELF}
    world.truth.known = Shape(columns, remarks=("Rows from before size was added have its default.",))
    assert "size" not in world.prove().text
    world.lake.damage(world.lake.current, put("7", "v", 99.0))
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert "size was added" in result.text
    assert [each.columns for each in result.differing] == [("v",)]
    assert "7 different in v (last changelog row" in result.text


def test_markers_may_come_in_another_form_than_json(world: World) -> None:
    world.truth.on_mark = lambda marker: world.log.markers.append((b"\0\0\0\0\7" + marker.encode(), b"\0c"))
    world.operation_of = lambda value: value[1:].decode()
    assert world.prove().verdict is Verdict.PASS


def drop(key: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.filter(pl.col(KEY) != key)


def put(key: str, column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.with_columns(
        pl.when(pl.col(KEY) == key).then(pl.lit(value)).otherwise(column).alias(column)
    )


def copy(key: str, name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: pl.concat(
        [rows, rows.filter(pl.col(KEY) == key).with_columns(pl.lit(name).alias(KEY))]
    )


DAMAGES = {
    "a row is missing": (drop("7"), "7", Kind.MISSING, (1, 4)),
    "a row is there twice": (copy("7", "7"), "7", Kind.EXTRA, (1, 4)),
    "a row nobody wrote": (copy("7", "77"), "77", Kind.EXTRA, (None, None)),
    "a deleted row is back": (copy("7", "0"), "0", Kind.EXTRA, (0, 16)),
    "a value is stale": (put("5", "v", 5.5), "5", Kind.DIFFERENT, (2, 12)),
    "a value is rounded": (put("7", "v", 7.0), "7", Kind.DIFFERENT, (1, 4)),
    "a null became a text": (put("7", "name", ""), "7", Kind.DIFFERENT, (1, 4)),
    "a text became null": (put("8", "name", None), "8", Kind.DIFFERENT, (2, 4)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_of_one_row_fails_and_names_its_key(
    world: World, damage: tuple[Callable[[pl.DataFrame], pl.DataFrame], str, Kind, tuple[int, int]]
) -> None:
    change, key, kind, (partition, offset) = damage
    world.lake.damage(world.lake.current, change)
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert [(k.key, k.kind, k.partition, k.offset) for k in result.differing] == [
        (key, kind, partition, offset)
    ]
    assert f"{key} {kind}" in result.text


def test_a_column_cast_to_text_fails_in_every_row_but_shows_twenty_keys_at_most(world: World) -> None:
    for key in range(20, 60):
        world.source.change(key, {"_id": key, "v": 1.5})
    world.source.sent = len(world.source.history)
    world.drain()
    world.lake.damage(world.lake.current, lambda rows: rows.with_columns(pl.col("_id").cast(pl.String)))
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert (result.differing_count, len(result.differing)) == (59, 20)


def test_a_null_for_a_missing_field_and_an_integer_for_an_equal_double_pass(world: World) -> None:
    world.source.change(3, {"name": None, "v": 3, "_id": 3})
    result = world.prove()
    assert result.verdict is Verdict.PASS


def test_a_row_lost_from_the_changelog_alone_fails_by_its_count(world: World) -> None:
    world.lake.damage(world.lake.changelog, drop("7"))
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert (result.counts.source, result.counts.lake, result.counts.folded) == (19, 19, 18)


def test_a_wrong_current_row_of_a_key_that_keeps_changing_fails(world: World) -> None:
    def later() -> None:
        world.source.second += 1
        world.source.change(7, {"_id": 7, "v": 70})
        world.source.sent = len(world.source.history)
        world.drain()
        world.lake.damage(world.lake.current, put("7", "v", 7.5))

    world.truth.after_position = later
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert [(k.key, k.kind) for k in result.differing] == [("7", Kind.UNFOLDED)]


def test_a_difference_that_is_gone_with_newer_tables_is_none(world: World) -> None:
    world.lake.damage(world.lake.current, drop("7"))
    repaired = rows_of_seven(world)
    reads = itertools.count()
    table = world.lake.current

    class HealedInBetween:
        uri = table.uri
        exists = table.exists
        read = table.read

        def open(self, stream: Stream) -> object:
            if next(reads) == 2:
                table.append(table.open(stream), repaired, {}, {})
            return table.open(stream)

    subject = Subject(
        "orders",
        STREAM,
        world.truth,
        world.log,
        world.lake.changelog,
        HealedInBetween(),
        MARKERS.topic,  # type: ignore[arg-type]
    )
    result = prove(subject, marker="m", deadline=30, clock=world.clock, sleep=world.sleep)
    assert result.verdict is Verdict.PASS


def rows_of_seven(world: World) -> pl.DataFrame:
    changelog = world.lake.changelog
    return changelog.read(changelog.open(STREAM)).filter(pl.col(KEY) == "7").collect()


def test_a_lake_that_does_not_follow_is_unknown_and_lagging(world: World) -> None:
    world.source.change(1, None)
    result = world.prove(drain=False)
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.LAGGING)
    assert world.lake.current.uri in result.reason
    assert result.seconds < 32


def test_tables_that_do_not_exist_are_unknown_and_are_not_made(world: World) -> None:
    world.lake = Lake()
    result = world.prove(drain=False)
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.LAGGING)
    assert not world.lake.current.exists()


@pytest.mark.parametrize("exists", [True, False])
def test_a_connector_that_sends_nothing_is_unknown(world: World, exists: bool) -> None:
    world.works, world.log.markers_exist = False, exists
    result = world.prove()
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    assert result.seconds < 32


@pytest.mark.parametrize("cause", [Cause.SOURCE_UNREACHABLE, Cause.SNAPSHOT_EXPIRED])
@pytest.mark.parametrize("reading", [0, 1])
def test_a_source_that_cannot_be_read_is_unknown(world: World, cause: Cause, reading: int) -> None:
    world.lake.damage(world.lake.current, drop("7"))
    world.truth.failures = [*[None] * reading, Unprovable(cause, "no")]
    result = world.prove()
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, cause)


def test_a_difference_during_an_initial_snapshot_is_unknown(world: World) -> None:
    def later() -> None:
        world.source.second += 1
        world.source.change(90, {"_id": 90}, operation="r")

    world.truth.after_position = later
    result = world.prove()
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.CONTENDED)


LETTERS = (OpenLetter(2, 14, "not JSON"), OpenLetter(0, 8, "no key"))


def test_open_dead_letters_fail_a_table_that_is_equal_otherwise_and_are_named(world: World) -> None:
    world.open_letters = lambda: LETTERS
    result = world.prove()
    assert result.verdict is Verdict.FAIL
    assert result.letters == LETTERS
    assert "2 dead letters are open: 0:8 (no key); 2:14 (not JSON)." in result.text
    assert "Apart from them the lake equals the source." in result.text


def test_open_dead_letters_fail_a_table_that_cannot_be_proven_or_differs(world: World) -> None:
    world.open_letters = lambda: LETTERS
    world.lake.damage(world.lake.current, drop("7"))
    assert "7 missing" in world.prove().text
    world.works = False
    result = world.prove()
    assert (result.verdict, result.cause) == (Verdict.FAIL, Cause.CONNECTOR_SILENT)


def test_dead_letters_that_cannot_be_looked_at_leave_no_pass(world: World) -> None:
    def fail() -> Sequence[OpenLetter]:
        raise Transient("no disk")

    world.open_letters = fail
    assert world.prove().verdict is Verdict.UNKNOWN
    world.lake.damage(world.lake.current, drop("7"))
    assert world.prove().verdict is Verdict.FAIL


def test_a_topic_that_was_made_anew_is_unknown(world: World) -> None:
    stream = Stream("cluster", STREAM.topic, "another", 3)
    result = world.prove(stream=stream)
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.TABLE_UNREADABLE)
    assert "made again" in result.reason


@pytest.mark.parametrize("error", [Transient("no broker"), StreamReplaced("another topic")])
def test_a_drain_that_fails_is_unknown(world: World, error: Exception) -> None:
    def fail() -> None:
        raise error

    world.source.change(1, None)
    subject = Subject(
        "orders", STREAM, world.truth, world.log, world.lake.changelog, world.lake.current, MARKERS.topic
    )
    result = prove(subject, marker="m", deadline=30, clock=world.clock, sleep=world.sleep, drain=fail)
    assert result.verdict is Verdict.UNKNOWN
    assert str(error) in result.reason


def test_a_drain_that_fails_for_a_moment_is_tried_again(world: World) -> None:
    errors = iter([Transient("no leader"), Transient("no leader")])

    def drain() -> None:
        if error := next(errors, None):
            raise error
        world.drain()

    world.source.change(1, None)
    subject = Subject(
        "orders", STREAM, world.truth, world.log, world.lake.changelog, world.lake.current, MARKERS.topic
    )
    result = prove(subject, marker="m", deadline=30, clock=world.clock, sleep=world.sleep, drain=drain)
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize("verdict", list(Verdict))
def test_no_verdict_can_be_built_without_its_grounds(verdict: Verdict) -> None:
    with pytest.raises(ValueError, match="without grounds"):
        Result("orders", verdict, "", 0.0)
    with pytest.raises(ValueError, match="without grounds"):
        Result("orders", Verdict.PASS, "", 0.0, source_digest="a", lake_digest="b")
