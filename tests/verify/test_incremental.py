"""Proofs that read only what has changed since the last one: what they find, and what they do not claim."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cdc_platform.core.columns import DELETE, KEY, OPERATION
from cdc_platform.core.model import Kind
from cdc_platform.verify.notes import Notes, Proven
from cdc_platform.verify.shape import Shape, Text
from cdc_platform.verify.subject import Past
from cdc_platform.verify.verdict import Cause, OpenLetter, Result, Verdict
from cdc_platform.verify.verdict import Kind as Wrong
from tests.verify.past import MemoryHistory
from tests.verify.world import STREAM, Doc, World

ROWS = 40
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOURS = timedelta(hours=20)


class Watched(World):
    """A world whose proofs go on from one another. ``hours``: that have gone by."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.hours = 0
        self.history = MemoryHistory(self.lake.current)
        self.past = Past(Notes(folder, "orders"), self.history, self.now, HOURS)
        for key in range(ROWS):
            self.change(key, key + 0.5)
        self.drain()

    def now(self) -> datetime:
        return NOW + timedelta(hours=self.hours)

    def change(self, key: int, v: float | None) -> None:
        """The key's row; None: it is deleted."""
        self.source.second += 1
        self.source.change(key, None if v is None else {"_id": key, "v": v, "name": f"n{key}"})
        self.source.sent = len(self.source.history)

    def write(self, key: int, v: float) -> None:
        """Into the lake alone, by a commit that no event has led to."""
        self._merge(self._row(key).with_columns(v=pl.lit(v)))

    def lose(self, key: int) -> None:
        """The same: the key's row is gone."""
        self._merge(self._row(key).with_columns(pl.lit(DELETE).alias(OPERATION)))

    def double(self, key: int, name: int) -> None:
        """The same: the key's row is there once more, by another key or by its own."""
        table = self.lake.current
        table.append(table.open(STREAM), self._row(key).with_columns(pl.lit(str(name)).alias(KEY)), {}, {})

    def _row(self, key: int) -> pl.DataFrame:
        table = self.lake.current
        return table.read(table.open(STREAM)).filter(pl.col(KEY) == str(key)).collect()

    def _merge(self, rows: pl.DataFrame) -> None:
        table = self.lake.current
        table.merge(table.open(STREAM), rows, {}, {})

    def in_full(self) -> Result:
        """Reads every row, and leaves nothing."""
        given, self.past = self.past, None
        try:
            return self.prove()
        finally:
            self.past = given

    @property
    def note(self) -> Proven:
        assert self.past is not None
        found = self.past.notes.read(Kind.CURRENT, Proven)
        assert found is not None
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Proven in full once."""
    world = Watched(tmp_path)
    first = world.prove()
    assert (first.verdict, first.scope) == (Verdict.PASS, None)
    assert "It was read in full: no earlier proof of it is known." in first.text
    return world


def test_the_second_proof_reads_the_keys_that_changed_and_no_others(watched: Watched) -> None:
    first = watched.note
    watched.change(3, 33.0)
    watched.change(ROWS, 1.0)
    watched.change(4, None)
    result = watched.prove()
    assert result.verdict is Verdict.PASS
    assert watched.truth.read == {"3", str(ROWS), "4"}
    assert result.scope is not None
    assert (result.scope.keys, result.scope.unread) == (3, ROWS - 2)
    assert (result.counts.source, result.counts.lake) == (ROWS, ROWS)
    assert "in the 3 keys that changed since cluster time" in result.text
    assert f"{ROWS - 2} rows were last read at {first.whole.at}" in result.text
    assert "would not have been seen" in result.text


def test_only_what_was_read_counts_as_proven_through_the_position(watched: Watched) -> None:
    first = watched.note.through.source_time
    watched.change(3, 33.0)
    result = watched.prove()
    assert result.valid_through == first
    assert result.checked_through is not None
    assert result.checked_through > first
    assert watched.note.through.source_time == first
    assert watched.note.last.source_time == result.checked_through


def test_a_source_that_tells_what_has_changed_proves_the_whole_table(watched: Watched) -> None:
    watched.truth.tells = True
    assert watched.past is not None
    watched.past = replace(watched.past, prefilter=True)
    again = watched.prove()
    assert again.scope is None
    assert "the source cannot tell what has changed" in again.text
    watched.change(3, 33.0)
    result = watched.prove()
    assert result.scope is not None
    assert result.scope.unchanged
    assert result.valid_through == result.checked_through == watched.note.through.source_time
    assert "itself shows that none of them has changed" in result.text


def test_nothing_has_changed_and_nothing_is_read(watched: Watched) -> None:
    result = watched.prove()
    assert result.verdict is Verdict.PASS
    assert result.scope is not None
    assert (result.scope.keys, watched.truth.read) == (0, set())


def test_changes_during_the_proof_are_taken_back_and_read_by_the_next_one(watched: Watched) -> None:
    watched.change(3, 33.0)

    def later() -> None:
        watched.change(3, 34.0)
        watched.change(5, None)
        watched.change(ROWS + 1, 1.0)

    watched.truth.after_position = later
    result = watched.prove()
    assert result.verdict is Verdict.PASS, result.text
    assert (result.counts.reverted, result.counts.lake, result.counts.current) == (3, ROWS, ROWS)
    watched.truth.after_position = lambda: None
    assert watched.prove().verdict is Verdict.PASS
    assert watched.truth.read == {"3", "5", str(ROWS + 1)}
    watched.lose(ROWS + 1)
    assert [each.key for each in watched.prove().differing] == [str(ROWS + 1)]


DAMAGES: dict[str, tuple[Callable[[Watched], None], int, Wrong]] = {
    "a changed row is stale": (lambda world: world.write(3, 3.5), 3, Wrong.DIFFERENT),
    "a changed row is lost": (lambda world: world.lose(3), 3, Wrong.MISSING),
    "a changed row is doubled": (lambda world: world.double(3, 3), 3, Wrong.EXTRA),
    "an untouched row is written over": (lambda world: world.write(7, 7.0), 7, Wrong.DIFFERENT),
    "an untouched row is lost": (lambda world: world.lose(7), 7, Wrong.MISSING),
    "an untouched row is doubled": (lambda world: world.double(7, 7), 7, Wrong.EXTRA),
    "a row nobody wrote": (lambda world: world.double(7, 77), 77, Wrong.EXTRA),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_a_commit_damaged_is_named_whether_events_touched_it_or_not(
    watched: Watched, damage: tuple[Callable[[Watched], None], int, Wrong]
) -> None:
    harm, key, kind = damage
    before = watched.note
    watched.change(3, 33.0)
    watched.drain()
    harm(watched)
    for _ in range(2):
        result = watched.prove()
        assert result.verdict is Verdict.FAIL
        assert result.scope is not None
        assert [(each.key, each.kind) for each in result.differing] == [(str(key), kind)]
        assert ("No event has changed" in result.text) == (key != 3)
    assert watched.note == before
    assert (result.valid_through, result.checked_through) == (None, None)


def test_a_row_that_a_commit_put_right_again_is_no_fault(watched: Watched) -> None:
    watched.write(7, 7.0)
    watched.write(7, 7.5)
    result = watched.prove()
    assert result.verdict is Verdict.PASS
    assert watched.truth.read == {"7"}


def test_rows_that_are_gone_without_a_commit_that_says_so_make_it_read_all(watched: Watched) -> None:
    watched.lose(7)
    watched.history.silent = frozenset(range(watched.note.version, watched.note.version + 9))
    result = watched.prove()
    assert result.verdict is Verdict.FAIL
    assert result.scope is None
    assert [each.key for each in result.differing] == ["7"]


def without(key: int) -> Callable[[dict[int, Doc]], object]:
    return lambda rows: rows.pop(key, None)


def other(key: int) -> Callable[[dict[int, Doc]], object]:
    return lambda rows: rows.__setitem__(key, {"_id": key, "v": -1.0})


@pytest.mark.parametrize("change", [without(7), other(ROWS + 5)], ids=["deleted", "inserted"])
def test_rows_that_come_or_go_in_the_source_without_an_event_are_found_by_their_number(
    watched: Watched, change: Callable[[dict[int, Doc]], object]
) -> None:
    watched.truth.unsent.append(change)
    result = watched.prove()
    assert result.verdict is Verdict.FAIL
    assert result.scope is None
    assert len(result.differing) == 1


def test_a_row_changed_in_the_source_without_an_event_is_not_claimed(watched: Watched) -> None:
    through = watched.note.through.source_time
    watched.truth.unsent.append(other(7))
    result = watched.prove()
    assert result.verdict is Verdict.PASS
    assert result.scope is not None
    assert not result.scope.unchanged
    assert result.valid_through == through
    assert watched.in_full().verdict is Verdict.FAIL


def test_a_row_changed_in_the_source_without_an_event_is_found_where_the_source_tells(
    watched: Watched,
) -> None:
    watched.truth.tells = True
    assert watched.past is not None
    watched.past = replace(watched.past, prefilter=True)
    assert watched.prove().verdict is Verdict.PASS
    watched.truth.unsent.append(other(7))
    result = watched.prove()
    assert result.verdict is Verdict.FAIL
    assert [(each.key, each.kind) for each in result.differing] == [("7", Wrong.DIFFERENT)]
    assert "No event has changed 1 of these" in result.text


def test_what_a_full_proof_found_stays_found_until_it_is_mended(watched: Watched) -> None:
    given = watched.past
    assert given is not None
    watched.truth.unsent.append(other(7))
    watched.past = replace(given, every=None)
    assert watched.prove().verdict is Verdict.FAIL
    watched.past = given
    again = watched.prove()
    assert (again.verdict, again.scope) == (Verdict.FAIL, None)
    watched.truth.unsent.clear()
    mended = watched.prove()
    assert (mended.verdict, mended.scope) == (Verdict.PASS, None)
    assert "the last proof that read every row failed" in mended.text
    assert watched.prove().scope is not None


def another_table(world: Watched) -> None:
    world.history.name = "another"


def forgotten(world: Watched) -> None:
    world.change(3, 33.0)
    world.drain()
    world.history.forgotten = world.note.version + 1


def other_columns(world: Watched) -> None:
    world.truth.known = Shape({"_id": Text.ITSELF, "v": Text.ITSELF, "name": Text.ITSELF})


def late(world: Watched) -> None:
    world.hours = 21


def unreadable(world: Watched) -> None:
    assert world.past is not None
    [path] = world.past.notes.folder.glob("*proven*")
    path.write_text("{")


REASONS = {
    another_table: "its current table is another one",
    forgotten: "log no longer has version",
    other_columns: "other columns than at the last proof",
    late: "the last time was 2026-11-01 12:00 UTC, longer ago than full_hours",
    unreadable: "the note of the last check cannot be read",
}


@pytest.mark.parametrize("happens", REASONS, ids=lambda each: each.__name__)
def test_where_it_cannot_go_on_it_reads_all_and_says_why(
    watched: Watched, happens: Callable[[Watched], None]
) -> None:
    happens(watched)
    result = watched.prove()
    assert (result.verdict, result.scope) == (Verdict.PASS, None)
    assert REASONS[happens] in result.text
    if happens is not forgotten:
        again = watched.prove()
        assert again.scope is not None


def test_a_proof_that_was_asked_to_read_all_is_the_next_one_s_beginning(watched: Watched) -> None:
    given = watched.past
    assert given is not None
    watched.hours = 19
    watched.past = replace(given, every=None)
    result = watched.prove()
    assert result.scope is None
    assert "read in full" not in result.text
    watched.past, watched.hours = given, 38
    assert watched.prove().scope is not None


def test_a_difference_during_an_initial_snapshot_is_unknown(watched: Watched) -> None:
    def later() -> None:
        watched.source.second += 1
        watched.source.change(90, {"_id": 90}, operation="r")

    watched.truth.after_position = later
    result = watched.prove()
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.CONTENDED)


def test_open_letters_leave_nothing_to_go_on_from(watched: Watched) -> None:
    before = watched.note
    watched.change(3, 33.0)
    watched.open_letters = lambda: [OpenLetter(0, 8, "no key")]
    assert watched.prove().verdict is Verdict.FAIL
    assert watched.note == before


@pytest.mark.parametrize("seed", range(20))
def test_an_incremental_proof_says_what_a_full_one_says(tmp_path: Path, seed: int) -> None:
    """Whatever happens in the lake; and in the source, where it tells what has changed."""
    chance = random.Random(seed)
    world = Watched(tmp_path)
    world.truth.tells = chance.random() < 0.5
    assert world.past is not None
    world.past = replace(world.past, prefilter=world.truth.tells)
    assert world.prove().verdict is Verdict.PASS

    def live() -> None:
        for _ in range(chance.randrange(6)):
            world.change(chance.randrange(ROWS + 9), None if chance.random() < 0.3 else chance.random())
            if chance.random() < 0.3:
                world.drain()

    world.truth.after_position = live
    scopes = 0
    for _ in range(8):
        live()
        world.drain()
        match chance.randrange(6):
            case 0:
                table = world.lake.current
                there = table.read(table.open(STREAM)).select(KEY).collect()[KEY].to_list()
                world.write(int(chance.choice(there)), chance.random())
            case 1 if world.truth.tells:
                world.truth.unsent.append(other(chance.randrange(ROWS)))
        result = world.prove()
        scopes += result.scope is not None
        world.truth.after_position = lambda: None
        whole = world.in_full()
        world.truth.after_position = live
        assert result.verdict is whole.verdict, f"{result.text} {whole.text}"
        if result.verdict is Verdict.FAIL:
            return
    assert scopes > 4
