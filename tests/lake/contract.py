"""What every lake table must do: one suite, run over every adapter.

An adapter's test class inherits it and says how to reach its table (``tables``) and a commit's info.

The contract
- Rows, offsets, new columns and info are one commit: all of it or nothing, whatever happens in between.
- A commit is made against a handle. If anybody committed since it was opened, the commit is refused, also
  when it would change no row, and leaves no trace.
- Offsets move with every commit, also when no row does.
- All rows and columns can be exchanged in one commit, to which the same applies. Its columns, offsets and
  positions are all that there is from then on.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.columns import DELETE, KEY, METADATA, OFFSET, PARTITION, READ, UPDATE
from cdc_platform.core.errors import Conflict, StreamReplaced
from cdc_platform.core.history import REBUILT
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Range, Ranges
from cdc_platform.core.ports import LakeTable
from cdc_platform.core.reservation import Reservation
from cdc_platform.core.schema import fit
from tests.lake.rows import STREAM, Row, fitted, frame, row

Tables = Callable[[], LakeTable]
"""Gives the table as another writer would come by it."""

ODD_KEYS = (
    "",
    " ",
    "'",
    "''",
    "it's",
    '"quoted"',
    "back\\slash",
    "`tick`",
    "%_*?[x]",
    "new\nline\ttab",
    "--comment",
    "$1",
    "{}",
    "NULL",
    "null",
    "1",
    "01",
    "é",
    "e\u0301",
    "日本",
    "\U0001f600",
    "\U0010ffff",
    '{"$oid":"65f0c0ffee65f0c0ffee65f0"}',
    '"o\'clock \\"now\\""',
    '{"a":"it\'s","b":{"$numberLong":"1"}}',
)
_PREFIX = "k" * 3_000
LONG_KEYS = (
    _PREFIX,
    _PREFIX + "a",
    _PREFIX + "b",
    "é" * 700 + "a",
    "\U0001f600" * 500,
    "\U0010ffff" * 300,
    "\U0010ffff" * 300 + "x",
    "y" * 100_000,
)


def content(table: LakeTable, ranges: Ranges | None = None) -> pl.DataFrame:
    """The newest rows, ordered by partition and offset."""
    handle = table.open(STREAM)
    return table.read(handle, ranges).collect().sort(PARTITION, OFFSET)


def keys(table: LakeTable) -> list[str]:
    return content(table)[KEY].to_list()


def places(rows: pl.DataFrame) -> list[tuple[int, int]]:
    return rows.select(PARTITION, OFFSET).rows()


def add(table: LakeTable, rows: Iterable[Row], advance: Ranges, **types: Any) -> Handle:
    handle = table.open(STREAM)
    return table.append(handle, fitted(handle, rows, **types), advance, {})


def add_frame(table: LakeTable, rows: pl.DataFrame, advance: Ranges) -> Handle:
    handle = table.open(STREAM)
    return table.append(handle, fit(rows, handle.logical, where="test"), advance, {})


def apply(table: LakeTable, rows: Iterable[Row], advance: Ranges, **types: Any) -> Handle:
    handle = table.open(STREAM)
    return table.merge(handle, fitted(handle, rows, **types), advance, {})


def exchanged(
    table: LakeTable, frames: Iterable[pl.DataFrame], offsets: Offsets, positions: Positions = NOWHERE
) -> Handle:
    """All rows and columns replaced by the frames, of which there is one at least."""
    frames = list(frames)
    columns = frames[0].schema
    return table.replace(
        table.open(STREAM), iter(frames), columns, offsets, {REBUILT: "a new snapshot"}, positions
    )


_ID = {"$oid": "65f0c0ffee65f0c0ffee65f0"}
_UUID = {"$uuid": "123e4567-e89b-12d3-a456-426614174000"}
_NUMBER = {"$numberDecimal": "0.10"}
BEFORE: Row = {"n": 1, "at": {"id": _ID, "x": 2}, "items": [{"sku": "a", "by": _UUID}], "of": _ID}
AFTER: Mapping[str, Row] = {
    "fewer": {"n": 1},
    "none": {},
    "the same": BEFORE,
    "more": {**BEFORE, "more": {"deep": [{"er": _NUMBER}]}},
    "others": {"m": 1.5, "where": {"y": True}},
    "in another order": dict(reversed(BEFORE.items())),
    "the first of another type": {**BEFORE, "n": "one"},
    "all of other types": {
        "n": "one",
        "at": {"id": "text", "x": {"y": [2]}},
        "items": [_UUID],
        "of": _ID["$oid"],
    },
    "marks elsewhere": {"n": _NUMBER, "at": {"id": _UUID, "x": 2}, "items": [_ID], "of": _UUID},
}
"""What a row had before its table was rebuilt, and what it may have afterwards."""


class LakeTableContract(ABC):
    """Everything that holds for appends, and so for every table."""

    @pytest.fixture
    @abstractmethod
    def tables(self) -> Tables: ...

    @abstractmethod
    def info(self, table: LakeTable) -> Mapping[str, str]:
        """What the newest commit carried."""

    def test_opening_creates_the_table_once(self, tables: Tables) -> None:
        assert not tables().exists()
        first = tables().open(STREAM)
        assert tables().exists()
        second = tables().open(STREAM)
        assert first.version == second.version == 0
        assert first.schema == METADATA
        assert first.offsets == {}
        assert content(tables()).is_empty()

    def test_creators_at_once_end_in_one_table(self, tables: Tables) -> None:
        writers = 6
        together = Barrier(writers, timeout=20)

        def create(number: int) -> Handle | None:
            table = tables()
            together.wait()
            handle = table.open(STREAM)
            together.wait()
            try:
                rows = fitted(handle, [row(0, number, f"k{number}")])
                return table.append(handle, rows, {0: Range(0, number + 1)}, {})
            except Conflict:
                return None

        with ThreadPoolExecutor(writers) as pool:
            results = list(pool.map(create, range(writers)))
        won = [number for number, handle in enumerate(results) if handle]
        assert len(won) == 1
        assert keys(tables()) == [f"k{won[0]}"]
        assert tables().open(STREAM).offsets == {0: won[0] + 1}

    def test_rows_and_offsets_are_committed_together(self, tables: Tables) -> None:
        handle = tables().open(STREAM)
        rows = fitted(handle, [row(0, 0, "a", name="A"), row(2, 7, "b", name="B")])
        made = tables().append(handle, rows, {0: Range(0, 1), 2: Range(0, 9)}, {})
        read = tables().open(STREAM)
        assert made.version == read.version == handle.version + 1
        assert made.offsets == read.offsets == {0: 1, 2: 9}
        assert made.schema == read.schema
        assert content(tables()).equals(rows.sort(PARTITION, OFFSET))

    def test_offsets_of_partitions_that_do_not_move_stay(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        made = add(tables(), [row(1, 0, "b")], {1: Range(0, 5)})
        assert made.offsets == {0: 1, 1: 5}

    def test_offsets_beyond_32_bits_come_back_exactly(self, tables: Tables) -> None:
        far = 2**62
        made = add(tables(), [row(0, far, "a")], {0: Range(0, far + 1)})
        assert made.offsets == tables().open(STREAM).offsets == {0: far + 1}
        assert places(content(tables(), {0: Range(far, far + 1)})) == [(0, far)]

    def test_an_append_without_rows_records_its_offsets(self, tables: Tables) -> None:
        before = add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        made = add(tables(), [], {0: Range(1, 40)})
        assert made.version == before.version + 1
        assert tables().open(STREAM).offsets == {0: 40}
        assert keys(tables()) == ["a"]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({0: Range(0, 1)}, {0: Range(0, 1)}),
            ({0: Range(0, 1)}, {0: Range(0, 5)}),
            ({0: Range(0, 1)}, {1: Range(0, 1)}),
        ],
        ids=["the same range", "an overlapping range", "other partitions"],
    )
    def test_an_append_with_a_stale_handle_leaves_no_trace(
        self, tables: Tables, first: Ranges, second: Ranges
    ) -> None:
        add(tables(), [row(0, 0, "old")], {})
        loser = tables()
        late = loser.open(STREAM)
        won = add(tables(), [row(0, 1, "winner")], first)
        with pytest.raises(Conflict):
            loser.append(late, fitted(late, [row(0, 2, "loser", field=1)]), second, {})
        after = tables().open(STREAM)
        assert (after.version, after.offsets, after.schema) == (won.version, won.offsets, won.schema)
        assert keys(tables()) == ["old", "winner"]

    def test_a_stale_append_without_rows_is_refused_as_well(self, tables: Tables) -> None:
        loser = tables()
        late = loser.open(STREAM)
        add(tables(), [], {0: Range(0, 9)})
        with pytest.raises(Conflict):
            loser.append(late, fitted(late, []), {0: Range(0, 3)}, {})
        assert tables().open(STREAM).offsets == {0: 9}

    def test_a_handle_serves_one_commit(self, tables: Tables) -> None:
        table = tables()
        handle = table.open(STREAM)
        table.append(handle, fitted(handle, [row(0, 0, "a")]), {0: Range(0, 1)}, {})
        with pytest.raises(Conflict):
            table.append(handle, fitted(handle, [row(0, 1, "b")]), {0: Range(0, 2)}, {})
        assert keys(tables()) == ["a"]
        assert tables().open(STREAM).offsets == {0: 1}

    def test_the_handle_of_a_commit_serves_the_next(self, tables: Tables) -> None:
        table = tables()
        handle = table.open(STREAM)
        for offset in range(4):
            rows = fitted(handle, [row(0, offset, f"k{offset}")])
            handle = table.append(handle, rows, {0: Range(offset, offset + 1)}, {})
        assert keys(tables()) == ["k0", "k1", "k2", "k3"]
        assert handle.version == 4

    def test_a_refused_handle_stays_refused(self, tables: Tables) -> None:
        loser = tables()
        late = loser.open(STREAM)
        add(tables(), [row(0, 0, "winner")], {0: Range(0, 1)})
        for _ in range(2):
            with pytest.raises(Conflict):
                loser.append(late, fitted(late, [row(0, 0, "loser")]), {0: Range(0, 1)}, {})
        assert keys(tables()) == ["winner"]

    def test_a_table_of_another_topic_of_the_same_name_is_refused(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        for other in (replace(STREAM, topic_id="uuid-2"), replace(STREAM, cluster_id="elsewhere")):
            with pytest.raises(StreamReplaced) as raised:
                tables().open(other)
            assert raised.value.remedy
            assert STREAM.topic_id in str(raised.value)
            assert other.topic_id in str(raised.value)
            assert "up to offsets 0:1," in str(raised.value)
        assert keys(tables()) == ["a"]

    def test_partitions_that_are_added_start_without_an_offset(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {p: Range(0, 1) for p in range(3)})
        wider = tables().open(replace(STREAM, partitions=5))
        assert wider.offsets == {0: 1, 1: 1, 2: 1}

    def test_who_knows_the_topic_as_it_was_sees_the_offsets_of_added_partitions(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        wider = tables().open(replace(STREAM, partitions=5))
        tables().append(wider, fitted(wider, [row(4, 0, "b")]), {3: Range(0, 0), 4: Range(0, 1)}, {})
        for stream in (STREAM, replace(STREAM, partitions=5), replace(STREAM, partitions=9)):
            handle = tables().open(stream)
            assert (handle.offsets, handle.partitions) == ({0: 1, 3: 0, 4: 1}, 3)

    def test_positions_are_kept_with_the_commit_and_stay_until_the_next_ones(self, tables: Tables) -> None:
        table = tables()
        handle = table.open(STREAM)
        assert handle.positions == {}
        advance = {p: Range(0, 1) for p in (0, 2)}
        rows = fitted(handle, [row(0, 0, "a"), row(2, 0, "b")])
        made = table.append(handle, rows, advance, {}, {0: 2**60, 2: 7})
        assert made.positions == tables().open(STREAM).positions == {0: 2**60, 2: 7}
        made = table.append(made, fitted(made, [row(1, 0, "c")]), {1: Range(0, 1)}, {}, {2: 8})
        assert made.positions == tables().open(STREAM).positions == {0: 2**60, 2: 8}
        with pytest.raises(Conflict):
            table.append(handle, rows, advance, {}, {0: 2**61})
        assert tables().open(STREAM).positions == {0: 2**60, 2: 8}

    def test_a_reservation_stands_until_the_next_commit(self, tables: Tables) -> None:
        assert tables().open(STREAM).reservation is None
        handle = add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        asked = Reservation("somebody", 12.5)
        tables().append(handle, fitted(handle, []), {}, asked.info)
        seen = tables().open(STREAM)
        assert (seen.reservation, seen.offsets, keys(tables())) == (asked, {0: 1}, ["a"])
        add(tables(), [], {0: Range(1, 2)})
        assert tables().open(STREAM).reservation is None

    def test_new_columns_and_nested_fields_appear_and_old_rows_give_null(self, tables: Tables) -> None:
        table = tables()
        add(table, [row(0, 0, "a")], {0: Range(0, 1)})
        add(table, [row(0, 1, "b", name="B", at={"street": "x"}, items=[{"sku": "s"}])], {0: Range(1, 2)})
        add(
            table,
            [row(0, 2, "c", name="C", at={"street": "y", "zip": {"code": 7}}, items=[{"sku": "t", "n": 2}])],
            {0: Range(2, 3)},
        )
        made = add(table, [row(0, 3, "d", paid=True)], {0: Range(3, 4)})
        assert list(made.schema) == [*METADATA, "name", "at", "items", "paid"]
        rows = content(tables()).select(KEY, "name", "at", "items", "paid").rows()
        assert rows == [
            ("a", None, None, None, None),
            ("b", "B", {"street": "x", "zip": None}, [{"sku": "s", "n": None}], None),
            ("c", "C", {"street": "y", "zip": {"code": 7}}, [{"sku": "t", "n": 2}], None),
            ("d", None, None, None, True),
        ]

    def test_ranges_select_exactly_the_rows_of_these_offsets(self, tables: Tables) -> None:
        expected = self.history(tables())
        self.assert_every_range_is_exact(tables(), expected)

    def test_the_size_of_a_row_is_that_of_the_largest_rows_in_the_ranges(self, tables: Tables) -> None:
        table = tables()
        assert table.row_bytes(table.open(STREAM), {0: Range(0, 9)}) == 0
        noise = random.Random(1).randbytes(100_000).hex()
        add(table, [row(0, n, f"small {n}", text="x") for n in range(20)], {0: Range(0, 20)})
        small = table.row_bytes(table.open(STREAM), {0: Range(0, 20)})
        add(table, [row(0, 20, "large", text=noise)], {0: Range(20, 21)})
        handle = table.open(STREAM)
        assert 0 < small < 20_000
        assert table.row_bytes(handle, {0: Range(20, 21)}) > 50_000
        assert table.row_bytes(handle, {0: Range(0, 21)}) > small

    def test_the_size_of_a_row_is_the_one_in_memory_however_well_it_is_packed(self, tables: Tables) -> None:
        add(tables(), [row(0, n, f"k{n}", text="x" * 2_000_000) for n in range(3)], {0: Range(0, 3)})
        add(tables(), [row(0, 3, "list", items=[{"n": 1}] * 300_000)], {0: Range(3, 4)})
        for ranges in ({0: Range(0, 3)}, {0: Range(3, 4)}):
            handle = tables().open(STREAM)
            rows = tables().read(handle, ranges).collect()
            assert tables().row_bytes(handle, ranges) >= rows.estimated_size() / rows.height > 1_000_000

    def test_an_older_handle_still_reads_its_own_version(self, tables: Tables) -> None:
        table = tables()
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        handle = table.open(STREAM)
        add(tables(), [row(0, 1, "b", name="B")], {0: Range(1, 2)})
        for ranges in (None, {0: Range(0, 9)}):
            assert table.read(handle, ranges).collect()[KEY].to_list() == ["a"]

    def test_info_travels_with_the_commit(self, tables: Tables) -> None:
        table = tables()
        handle = table.open(STREAM)
        info = {
            "cdc.ranges": "0:[0,1)",
            "cdc.rows": '{"in":1,"applied":{"c":1}}',
            "cdc.note": 'it\'s "here" é',
        }
        table.append(handle, fitted(handle, [row(0, 0, "a")]), {0: Range(0, 1)}, info)
        assert info.items() <= self.info(tables()).items()

    @pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
    def test_all_rows_and_columns_are_exchanged_at_once(self, tables: Tables, after: Row) -> None:
        add(tables(), [row(0, n, f"old {n}", **BEFORE) for n in range(3)], {0: Range(0, 3), 1: Range(0, 9)})
        new = frame([row(0, 1, "a", **after), row(2, 7, "b")])
        made = exchanged(tables(), [new], {0: 2, 2: 8})
        read = tables().open(STREAM)
        assert made.version == read.version
        assert made.logical == read.logical
        assert made.schema == read.schema == content(tables()).schema
        if set(after) != set(BEFORE):  # the same columns may stay in the order they had
            assert list(read.logical) == list(new.schema)
        assert dict(read.logical) == dict(new.schema)
        assert unstored(content(tables()), read.logical).select(new.columns).equals(new)
        assert places(content(tables(), {2: Range(0, 9)})) == [(2, 7)]
        more = frame([row(0, 2, "c", **after, later={"$oid": "5" * 24})])
        add_frame(tables(), more, {0: Range(2, 3)})
        assert unstored(content(tables()), tables().open(STREAM).logical)["later"].null_count() == 2
        assert tables().open(STREAM).offsets == {0: 3, 2: 8}

    @pytest.mark.parametrize(("offsets", "positions"), [({0: 1, 1: 20}, {0: 5}), ({2: 0}, {}), ({}, {})])
    def test_offsets_and_positions_are_exactly_those_given_with_the_rows(
        self, tables: Tables, offsets: Offsets, positions: Positions
    ) -> None:
        table = tables()
        handle = table.open(STREAM)
        rows = fitted(handle, [row(p, 0, f"k{p}") for p in range(3)])
        table.append(handle, rows, {p: Range(0, 10) for p in range(3)}, {}, {0: 2**60, 1: 7})
        made = exchanged(tables(), [frame([row(0, 0, "a")])], offsets, positions)
        read = tables().open(STREAM)
        assert (made.offsets, made.positions) == (read.offsets, read.positions) == (offsets, positions)
        add(tables(), [row(1, 20, "b")], {1: Range(20, 30)})
        read = tables().open(STREAM)
        assert (read.offsets, read.positions) == ({**offsets, 1: 30}, positions)
        assert keys(tables()) == ["a", "b"]

    def test_no_rows_at_all_are_a_content_as_any_other(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a", n=1)], {0: Range(0, 1)})
        columns = pl.Schema({**METADATA, "n": pl.String()})
        for frames in ([], [pl.DataFrame(schema=columns)]):
            table = tables()
            made = table.replace(table.open(STREAM), frames, columns, {0: 1}, {})
            assert made.logical == columns
            assert content(tables()).is_empty()
        add(tables(), [row(0, 1, "b", n="x")], {0: Range(1, 2)})
        assert content(tables()).select(KEY, "n").rows() == [("b", "x")]

    def test_a_table_that_never_had_a_row_can_be_rebuilt(self, tables: Tables) -> None:
        exchanged(tables(), [frame([row(0, 0, "a", n=1)])], {0: 1})
        assert content(tables()).select(KEY, "n").rows() == [("a", 1)]

    def test_frames_are_taken_one_at_a_time_and_become_one_commit(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "old", n=1)], {0: Range(0, 1)})
        columns = frame([row(0, 0, "", text="")]).schema
        seen: list[int] = []

        def frames() -> Iterator[pl.DataFrame]:
            for n in range(12):
                seen.append(tables().open(STREAM).version)
                yield frame([row(n % 3, n * 5 + i, f"k{n * 5 + i}", text="x" * n) for i in range(5)])

        table = tables()
        handle = table.open(STREAM)
        table.replace(handle, frames(), columns, dict.fromkeys(range(3), 60), {})
        assert seen == [handle.version] * 12
        assert sorted(content(tables())[OFFSET].to_list()) == list(range(60))
        written = [(n // 5 % 3, n, f"k{n}") for n in range(60)]
        self.assert_every_range_is_exact(tables(), written)

    def test_an_exchange_with_a_stale_handle_leaves_no_trace(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "old", n=1)], {0: Range(0, 1)})
        loser = tables()
        late = loser.open(STREAM)
        won = add(tables(), [row(0, 1, "winner")], {0: Range(1, 2)})
        new = frame([row(0, 2, "loser", n="x")])
        for _ in range(2):
            with pytest.raises(Conflict):
                loser.replace(late, [new], new.schema, {0: 9}, {}, {0: 9})
        after = tables().open(STREAM)
        assert (after.version, after.offsets, after.positions) == (won.version, {0: 2}, {})
        assert (after.logical, keys(tables())) == (won.logical, ["old", "winner"])

    def test_who_opened_the_table_before_it_was_rebuilt_cannot_write_to_it(self, tables: Tables) -> None:
        loser = tables()
        late = loser.open(STREAM)
        exchanged(tables(), [frame([row(0, 0, "a", n=1)])], {0: 1})
        with pytest.raises(Conflict):
            loser.append(late, fitted(late, [row(0, 0, "b", n="x")]), {0: Range(0, 1)}, {})
        assert keys(tables()) == ["a"]

    def test_a_handle_serves_one_exchange_and_that_of_an_exchange_the_next_commit(
        self, tables: Tables
    ) -> None:
        table = tables()
        handle = table.open(STREAM)
        new = frame([row(0, 0, "a", n=1)])
        made = table.replace(handle, [new], new.schema, {0: 1}, {})
        with pytest.raises(Conflict):
            table.replace(handle, [new], new.schema, {0: 1}, {})
        made = table.append(made, fitted(made, [row(0, 1, "b", n=2)]), {0: Range(1, 2)}, {})
        made = table.replace(made, [new], new.schema, {0: 1}, {})
        assert (keys(tables()), made.offsets) == (["a"], {0: 1})

    def test_rows_that_cannot_be_had_to_the_end_leave_the_old_table(self, tables: Tables) -> None:
        before = add(tables(), [row(0, 0, "old", n=1)], {0: Range(0, 1)})
        table = tables()
        new = frame([row(0, 0, "a", n="x")])

        def frames() -> Iterator[pl.DataFrame]:
            yield new
            raise LookupError("no more")

        handle = table.open(STREAM)
        with pytest.raises(LookupError, match="no more"):
            table.replace(handle, frames(), new.schema, {0: 9}, {})
        after = tables().open(STREAM)
        assert (after.version, after.offsets) == (before.version, {0: 1})
        assert (after.logical, keys(tables())) == (before.logical, ["old"])
        add(tables(), [row(0, 1, "b", n=2)], {0: Range(1, 2)})
        assert keys(tables()) == ["old", "b"]

    def test_an_older_handle_still_reads_what_was_there_before_the_exchange(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a", **BEFORE)], {0: Range(0, 1)})
        table = tables()
        handle = table.open(STREAM)
        before = content(tables())
        exchanged(tables(), [frame([row(0, 0, "b", **AFTER["all of other types"])])], {0: 1})
        for ranges in (None, {0: Range(0, 9)}):
            assert table.read(handle, ranges).collect().equals(before)

    def test_an_exchange_says_that_it_is_one_and_carries_its_info(self, tables: Tables) -> None:
        table = tables()
        new = frame([row(0, 0, "a")])
        handle = table.replace(table.open(STREAM), [new], new.schema, {}, {"cdc.note": "é"})
        told = self.info_of_the_exchange(tables())
        assert (told["cdc.note"], REBUILT in told) == ("é", True)
        table.replace(handle, [new], new.schema, {}, {REBUILT: "its changelog"})
        assert self.info_of_the_exchange(tables())[REBUILT] == "its changelog"

    def test_a_table_that_another_topic_filled_is_the_adopters_once_it_is_exchanged(
        self, tables: Tables
    ) -> None:
        add(tables(), [row(0, 0, "a", n=1)], {0: Range(0, 9)})
        other = replace(STREAM, topic_id="uuid-2", partitions=5)
        table = tables()
        handle = table.adopt(other)
        assert (handle.offsets, handle.positions, handle.stream) == ({}, {}, other.identity)
        with pytest.raises(StreamReplaced):
            tables().open(other)
        new = frame([row(4, 0, "b", n="x")])
        made = table.replace(handle, [new], new.schema, {4: 1}, {}, {4: 7})
        with pytest.raises(StreamReplaced):
            tables().open(STREAM)
        for each in (made, tables().open(other)):
            assert (each.offsets, each.positions, each.partitions) == ({4: 1}, {4: 7}, 5)
        table.append(made, fitted(made, [row(4, 1, "c", n="y")]), {4: Range(1, 2)}, {})
        handle = tables().open(other)
        assert tables().read(handle).collect()[KEY].sort().to_list() == ["b", "c"]
        assert handle.offsets == {4: 2}

    def test_who_adopts_a_table_of_the_same_topic_opens_it(self, tables: Tables) -> None:
        assert tables().adopt(STREAM).offsets == {}
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        opened, adopted = tables().open(STREAM), tables().adopt(STREAM)
        assert (adopted.version, adopted.offsets, adopted.partitions) == (opened.version, {0: 1}, 3)
        loser = tables()
        late = loser.adopt(STREAM)
        add(tables(), [row(0, 1, "b")], {0: Range(1, 2)})
        with pytest.raises(Conflict):
            loser.replace(late, [], late.logical, {}, {})
        assert keys(tables()) == ["a", "b"]

    def test_a_table_that_was_made_anew_tells_its_first_offsets_until_it_is_again(
        self, tables: Tables
    ) -> None:
        table = tables()
        assert table.open(STREAM).begun == {}
        new = frame([row(0, 12, "a")])
        made = table.replace(table.open(STREAM), [new], new.schema, {0: 13}, {}, begun={0: 12, 2: 7})
        made = table.append(made, fitted(made, [row(0, 13, "b")]), {0: Range(13, 14)}, {})
        for each in (made, tables().open(STREAM), tables().adopt(STREAM)):
            assert (each.begun, each.offsets, each.partitions) == ({0: 12, 2: 7}, {0: 14}, 3)
        table.replace(tables().open(STREAM), [new], new.schema, {0: 13}, {})
        assert tables().open(STREAM).begun == {}

    def info_of_the_exchange(self, table: LakeTable) -> Mapping[str, str]:
        """What the newest exchange carried."""
        return self.info(table)

    def history(self, table: LakeTable) -> list[tuple[int, int, str]]:
        """Commits over three partitions with gaps and a growing schema; gives (partition, offset, key)."""
        written = []
        for commit in range(6):
            rows = []
            for partition in range(3):
                for offset in range(commit * 10, commit * 10 + 10, 1 + (commit + partition) % 4):
                    key = f"k{offset % 5}"
                    fields: Row = {}
                    if commit > 1:
                        fields = {"doc": {"n": offset} | ({"s": {"t": "x"}} if commit > 3 else {})}
                    if commit in (2, 5):
                        fields |= {"items": [{"sku": "a"} | ({"n": 1} if commit == 5 else {})]}
                    rows.append(row(partition, offset, key, UPDATE, **fields))
                    written.append((partition, offset, key))
            add(table, rows, {p: Range(commit * 10, commit * 10 + 10) for p in range(3)})
        return written

    def assert_every_range_is_exact(self, table: LakeTable, written: list[tuple[int, int, str]]) -> None:
        handle = table.open(STREAM)
        wanted: list[dict[int, Range]] = [
            {p: Range(start, end)} for p in (0, 2, 7) for start in (0, 9, 10, 33) for end in (10, 11, 34, 99)
        ]
        wanted += [
            {},
            {0: Range(5, 5), 1: Range(0, 0)},
            {0: Range(0, 15), 2: Range(55, 60)},
            {p: Range(0, 60) for p in range(3)},
            {0: Range(59, 60), 1: Range(0, 1)},
        ]
        for ranges in wanted:
            expected = sorted(
                r for r in written if r[0] in ranges and ranges[r[0]].start <= r[1] < ranges[r[0]].end
            )
            rows = table.read(handle, ranges).collect()
            assert sorted(rows.select(PARTITION, OFFSET, KEY).rows()) == expected, ranges
            assert rows.schema == handle.schema


class MergeContract(LakeTableContract):
    """What holds for tables of the current state besides."""

    def test_a_merge_inserts_replaces_and_deletes(self, tables: Tables) -> None:
        table = tables()
        apply(table, [row(0, n, f"k{n}", READ, n=n) for n in range(4)], {0: Range(0, 4)})
        made = apply(
            table,
            [row(0, 4, "k1", UPDATE, n=40), row(0, 5, "k2", DELETE, n=None), row(1, 0, "k9", n=9)],
            {0: Range(4, 6), 1: Range(0, 1)},
            n=pl.Int64,
        )
        assert made.offsets == tables().open(STREAM).offsets == {0: 6, 1: 1}
        assert content(tables()).select(KEY, "n").rows() == [("k0", 0), ("k3", 3), ("k1", 40), ("k9", 9)]

    def test_a_merge_replaces_the_whole_row(self, tables: Tables) -> None:
        apply(tables(), [row(0, 0, "a", n=1, at={"x": 1, "y": 2})], {0: Range(0, 1)})
        apply(tables(), [row(0, 1, "a", UPDATE, at={"y": 3})], {0: Range(1, 2)})
        rows = content(tables())
        assert rows.select("n", "at").rows() == [(None, {"x": None, "y": 3})]
        assert places(rows) == [(0, 1)]

    def test_deleting_a_key_that_is_not_there_changes_nothing(self, tables: Tables) -> None:
        apply(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        apply(tables(), [row(0, 1, "ghost", DELETE)], {0: Range(1, 2)})
        assert keys(tables()) == ["a"]

    @pytest.mark.parametrize("deleted", [[], ["ghost"], ["ghost", "aaa", "zzz"]])
    def test_a_merge_that_changes_no_row_records_its_offsets(
        self, tables: Tables, deleted: list[str]
    ) -> None:
        apply(tables(), [row(0, 0, "k")], {0: Range(0, 1)})
        rows = [row(0, n, key, DELETE) for n, key in enumerate(deleted, 1)]
        table = tables()
        handle = table.open(STREAM)
        made = table.merge(handle, fitted(handle, rows), {0: Range(1, 20), 2: Range(0, 3)}, {"cdc.note": "x"})
        assert made.version == handle.version + 1
        assert made.offsets == tables().open(STREAM).offsets == {0: 20, 2: 3}
        assert self.info(tables())["cdc.note"] == "x"
        assert keys(tables()) == ["k"]

    def test_a_merge_that_changes_no_row_in_an_empty_table_records_its_offsets(self, tables: Tables) -> None:
        made = apply(tables(), [row(0, 0, "ghost", DELETE)], {0: Range(0, 1)})
        assert made.offsets == tables().open(STREAM).offsets == {0: 1}

    @pytest.mark.parametrize("operation", [UPDATE, DELETE])
    @pytest.mark.parametrize("key", ["a", "ghost"])
    @pytest.mark.parametrize("winner", ["append", "merge", "advance"])
    def test_a_merge_with_a_stale_handle_leaves_no_trace(
        self, tables: Tables, operation: str, key: str, winner: str
    ) -> None:
        apply(tables(), [row(0, 0, "a", n=1)], {0: Range(0, 1)})
        loser = tables()
        late = loser.open(STREAM)
        match winner:
            case "append":
                won = add(tables(), [row(0, 1, "b", n=2)], {0: Range(1, 2)})
            case "merge":
                won = apply(tables(), [row(0, 1, "a", UPDATE, n=2)], {0: Range(1, 2)})
            case _:
                won = apply(tables(), [], {0: Range(1, 2)})
        before = content(tables())
        with pytest.raises(Conflict):
            loser.merge(late, fitted(late, [row(0, 2, key, operation, n=3, more=1)]), {1: Range(0, 3)}, {})
        after = tables().open(STREAM)
        assert (after.version, after.offsets, after.schema) == (won.version, {0: 2}, won.schema)
        assert content(tables()).equals(before)

    def test_mergers_at_once_lose_nothing(self, tables: Tables) -> None:
        writers, rounds = 3, 3
        together = Barrier(writers, timeout=20)

        def work(number: int) -> int:
            table, done, attempts = tables(), 0, 0
            together.wait()
            while done < rounds and attempts < 200:
                attempts += 1
                handle = table.open(STREAM)
                at = handle.offsets.get(0, 0)
                rows = fitted(
                    handle, [row(0, at, f"k{number}", UPDATE, by=number), row(0, at, "all", UPDATE, by=at)]
                )
                try:
                    table.merge(handle, rows, {0: Range(at, at + 1)}, {})
                    done += 1
                except Conflict:
                    continue
            return done

        with ThreadPoolExecutor(writers) as pool:
            assert sum(pool.map(work, range(writers))) == writers * rounds
        assert tables().open(STREAM).offsets == {0: writers * rounds}
        assert sorted(keys(tables())) == ["all", "k0", "k1", "k2"]
        assert content(tables()).filter(pl.col(KEY) == "all")["by"].to_list() == [writers * rounds - 1]

    def test_a_merge_adds_columns_and_nested_fields(self, tables: Tables) -> None:
        apply(tables(), [row(0, 0, "a", at={"x": 1}), row(0, 1, "b", at={"x": 2})], {0: Range(0, 2)})
        made = apply(
            tables(), [row(0, 2, "a", UPDATE, at={"x": 3, "y": [{"z": 1}]}, name="A")], {0: Range(2, 3)}
        )
        assert list(made.schema) == [*METADATA, "at", "name"]
        assert content(tables()).sort(KEY).select(KEY, "at", "name").rows() == [
            ("a", {"x": 3, "y": [{"z": 1}]}, "A"),
            ("b", {"x": 2, "y": None}, None),
        ]

    @pytest.mark.parametrize("batch", [ODD_KEYS, LONG_KEYS], ids=["odd", "long"])
    def test_any_key_is_found_again(self, tables: Tables, batch: tuple[str, ...]) -> None:
        table = tables()
        count = len(batch)
        apply(table, [row(0, n, key, n=n) for n, key in enumerate(batch)], {0: Range(0, count)})
        apply(table, [row(0, count, "other", n=-1)], {0: Range(count, count + 1)})
        apply(table, [row(1, n, key, UPDATE, n=n + 100) for n, key in enumerate(batch)], {1: Range(0, count)})
        rows = content(table).filter(pl.col(KEY) != "other")
        assert rows.select(KEY, "n").rows() == [(key, n + 100) for n, key in enumerate(batch)]
        apply(table, [row(2, n, key, DELETE) for n, key in enumerate(batch)], {2: Range(0, count)})
        assert keys(table) == ["other"]

    @pytest.mark.parametrize("key", [*ODD_KEYS, *LONG_KEYS], ids=range(len(ODD_KEYS) + len(LONG_KEYS)))
    def test_any_key_is_found_again_alone(self, tables: Tables, key: str) -> None:
        table = tables()
        apply(table, [row(0, 0, key, n=1), row(0, 1, "m", n=0)], {0: Range(0, 2)})
        apply(table, [row(0, 2, key, UPDATE, n=2)], {0: Range(2, 3)})
        assert content(table).select(KEY, "n").rows() == [("m", 0), (key, 2)]
        apply(table, [row(0, 3, key, DELETE)], {0: Range(3, 4)})
        assert keys(table) == ["m"]

    def test_merges_go_on_from_what_was_exchanged(self, tables: Tables) -> None:
        apply(tables(), [row(0, n, f"k{n}", n=n) for n in range(4)], {0: Range(0, 4)})
        exchanged(tables(), [frame([row(0, n, f"k{n}", n=str(n)) for n in range(2, 6)])], {0: 6})
        rows = [row(0, 6, "k2", UPDATE, n="x", m=1), row(0, 7, "k3", DELETE), row(0, 8, "k9", n="y")]
        made = apply(tables(), rows, {0: Range(6, 9)})
        assert content(tables()).select(KEY, "n", "m").rows() == [
            ("k4", "4", None),
            ("k5", "5", None),
            ("k2", "x", 1),
            ("k9", "y", None),
        ]
        assert made.offsets == {0: 9}

    def test_a_deleted_key_comes_back_with_its_new_row_only(self, tables: Tables) -> None:
        apply(tables(), [row(0, 0, "a", n=1, old=True)], {0: Range(0, 1)})
        apply(tables(), [row(0, 1, "a", DELETE)], {0: Range(1, 2)})
        apply(tables(), [row(0, 2, "a", n=2)], {0: Range(2, 3)})
        assert content(tables()).select(KEY, "n", "old").rows() == [("a", 2, None)]
