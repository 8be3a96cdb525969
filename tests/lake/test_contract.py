"""The contract over every adapter, and what only a table on disk can get wrong."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.core.columns import DELETE, KEY, METADATA, OFFSET, PARTITION, UPDATE
from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.core.history import REBUILT
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.memory import MemoryTable
from tests.lake.contract import LakeTableContract, MergeContract, Tables, add, apply, content, keys
from tests.lake.rows import STREAM, Row, fitted, row


class TestMemoryTable(MergeContract):
    @pytest.fixture
    def tables(self) -> Tables:
        table = MemoryTable("memory://orders")
        return lambda: table

    def info(self, table: LakeTable) -> Mapping[str, str]:
        assert isinstance(table, MemoryTable)
        return table.versions[-1].info


def delta(path: Path, kind: Kind) -> Callable[[], DeltaLakeTable]:
    return lambda: DeltaLakeTable(path, kind)


def newest_info(table: LakeTable) -> Mapping[str, str]:
    return DeltaTable(table.uri).history(1)[0]


def newest_exchange(table: DeltaTable) -> Mapping[str, str]:
    """A changelog has a commit after it, which changes no row."""
    found: Mapping[str, str] = next(each for each in table.history(2) if REBUILT in each)
    return found


class DeltaContract(LakeTableContract):
    """What both Delta tables do besides."""

    def info(self, table: LakeTable) -> Mapping[str, str]:
        return newest_info(table)

    def info_of_the_exchange(self, table: LakeTable) -> Mapping[str, str]:
        return newest_exchange(DeltaTable(table.uri))

    def test_ranges_stay_exact_after_compaction(self, tables: Tables) -> None:
        written = self.history(tables())
        files = len(DeltaTable(tables().uri).file_uris())
        assert DeltaTable(tables().uri).optimize.compact()["numFilesRemoved"] == files
        self.assert_every_range_is_exact(tables(), written)
        assert tables().open(STREAM).offsets == {0: 60, 1: 60, 2: 60}

    def test_the_change_feed_spans_nested_fields_that_appeared(self, tables: Tables) -> None:
        written = self.history(tables())
        feed = pl.DataFrame(DeltaTable(tables().uri).load_cdf(starting_version=0).read_all())
        assert sorted(feed.select(PARTITION, OFFSET, KEY).rows()) == sorted(written)

    def test_offsets_and_ranges_survive_checkpoints_vacuum_and_log_clean_up(self, tables: Tables) -> None:
        written = self.history(tables())
        table = DeltaTable(tables().uri)
        table.optimize.compact()
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        table.create_checkpoint()
        table.cleanup_metadata()
        self.assert_every_range_is_exact(tables(), written)
        assert tables().open(STREAM).offsets == {0: 60, 1: 60, 2: 60}

    def test_a_commit_after_somebodys_compaction_is_refused(self, tables: Tables) -> None:
        for n in range(3):
            add(tables(), [row(0, n, f"k{n}")], {0: Range(n, n + 1)})
        loser = tables()
        late = loser.open(STREAM)
        DeltaTable(late_uri := loser.uri).optimize.compact()
        with pytest.raises(Conflict):
            loser.append(late, fitted(late, [row(0, 3, "k3")]), {0: Range(3, 4)}, {})
        assert DeltaTable(late_uri).version() == late.version + 1
        assert keys(tables()) == ["k0", "k1", "k2"]

    def test_files_without_rows_of_the_ranges_are_not_read(self, tables: Tables) -> None:
        """Their absence goes unnoticed: the pruning shows without looking inside the adapter."""
        for n in range(0, 50, 10):
            rows = [row(p, offset, f"k{offset}") for p in (0, 1) for offset in range(n, n + 10)]
            add(tables(), rows, {p: Range(n, n + 10) for p in (0, 1)})
        actions = pl.DataFrame(DeltaTable(tables().uri).get_add_actions(flatten=True))
        offsets = actions.select(f"min.{OFFSET}", f"max.{OFFSET}").unique()
        assert sorted(offsets.rows()) == [(n, n + 9) for n in range(0, 50, 10)]
        handle = tables().open(STREAM)
        for name in actions.filter(pl.col(f"min.{OFFSET}") != 20)["path"]:
            (Path(tables().uri) / name).unlink()
        wanted = tables().read(tables().open(STREAM), {0: Range(20, 30), 1: Range(25, 27)}).collect()
        assert wanted.height == 12
        with pytest.raises(FileNotFoundError):
            tables().read(handle, {0: Range(19, 30)}).collect()

    def test_wide_documents_keep_statistics_of_the_offsets(self, tables: Tables) -> None:
        fields: Row = {f"field_{n:03}": n for n in range(200)}
        add(tables(), [row(0, 5, "a", **fields)], {0: Range(0, 6)})
        add(tables(), [row(0, 6, "b", first={f"f{n}": n for n in range(60)})], {0: Range(6, 7)})
        actions = pl.DataFrame(DeltaTable(tables().uri).get_add_actions(flatten=True))
        assert sorted(actions.select(f"min.{OFFSET}", f"max.{OFFSET}").rows()) == [(5, 5), (6, 6)]

    def test_the_change_feed_is_on_from_the_first_version(self, tables: Tables) -> None:
        tables().open(STREAM)
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        feed = pl.DataFrame(DeltaTable(tables().uri).load_cdf(starting_version=0).read_all())
        assert feed.select(KEY, "_change_type").rows() == [("a", "insert")]

    def test_a_folder_of_an_odd_name_is_no_pattern(self, tmp_path: Path) -> None:
        kind = Kind.CHANGELOG
        table = DeltaLakeTable(tmp_path / "my lake 100% é" / "a*b?" / "orders", kind)
        self.assert_every_range_is_exact(table, self.history(table))
        assert content(table).height == content(table, {p: Range(0, 60) for p in range(3)}).height

    def test_a_commit_that_fails_otherwise_is_transient_and_leaves_the_table_as_it_was(
        self, tables: Tables
    ) -> None:
        """A disk that takes no more: the file size limit stands in for it."""
        before = add(tables(), [row(0, 0, "a", text="")], {0: Range(0, 1)})
        table = tables()
        handle = table.open(STREAM)
        large = "".join(chr(0x20 + n * 7919 % 0xD000) for n in range(200_000))
        rows = fitted(handle, [row(0, 1, "b", text=large)])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            with pytest.raises(Transient) as raised:
                table.append(handle, rows, {0: Range(1, 2)}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not isinstance(raised.value, Conflict)
        assert "0:[1,2)" in raised.value.what
        assert raised.value.where == table.uri
        assert raised.value.remedy
        after = tables().open(STREAM)
        assert (after.version, after.offsets) == (before.version, before.offsets)
        assert keys(tables()) == ["a"]
        add(tables(), [row(0, 1, "b", text=large)], {0: Range(1, 2)})
        assert keys(tables()) == ["a", "b"]

    def test_a_folder_that_vanished_is_transient(self, tables: Tables) -> None:
        table = tables()
        handle = add(table, [row(0, 0, "a")], {0: Range(0, 1)})
        shutil.rmtree(table.uri)
        Path(table.uri).write_text("not a folder")
        with pytest.raises(Transient) as raised:
            table.append(handle, fitted(handle, [row(0, 1, "b")]), {0: Range(1, 2)}, {})
        assert raised.value.remedy

    def test_a_torn_commit_file_makes_the_table_unreadable_not_empty(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        (Path(tables().uri) / "_delta_log" / "00000000000000000002.json").write_text('{"add":{"path":')
        with pytest.raises(Transient) as raised:
            tables().open(STREAM)
        assert raised.value.where == tables().uri


class TestDeltaChangelog(DeltaContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return delta(tmp_path / "orders_changes", Kind.CHANGELOG)

    def test_nobody_can_delete_from_it(self, tables: Tables) -> None:
        add(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        with pytest.raises(Exception, match="append-only"):
            DeltaTable(tables().uri).delete()
        assert keys(tables()) == ["a"]


class TestDeltaCurrent(MergeContract, DeltaContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return delta(tmp_path / "orders", Kind.CURRENT)

    def test_the_change_feed_replays_to_the_table(self, tables: Tables) -> None:
        table = tables()
        apply(table, [row(0, n, f"k{n}", n=n) for n in range(6)], {0: Range(0, 6)})
        apply(
            table,
            [row(0, 6, "k1", UPDATE, n=60, extra="x"), row(0, 7, "k2", DELETE), row(0, 8, "k7", n=8)],
            {0: Range(6, 9)},
        )
        apply(
            table,
            [row(0, 9, "k2", n=9), row(0, 10, "k7", DELETE), row(0, 11, "k1", UPDATE, n=1)],
            {0: Range(9, 12)},
        )
        DeltaTable(table.uri).optimize.compact()
        apply(table, [row(0, 12, "ghost", DELETE)], {0: Range(12, 13)})
        assert replayed(table.uri) == sorted(content(table).select(KEY, OFFSET, "n", "extra").rows())

    def test_a_no_op_merge_on_a_stale_handle_is_refused_by_its_offsets_alone(self, tables: Tables) -> None:
        apply(tables(), [row(0, 0, "a")], {0: Range(0, 1)})
        loser = tables()
        late = loser.open(STREAM)
        apply(tables(), [row(0, 1, "ghost", DELETE)], {0: Range(1, 2)})
        with pytest.raises(Conflict):
            loser.merge(late, fitted(late, [row(0, 1, "ghost", DELETE)]), {0: Range(1, 2)}, {})
        assert tables().open(STREAM).offsets == {0: 2}


def replayed(uri: str) -> list[tuple[str, int, int | None, str | None]]:
    """The table as its change feed alone gives it, in plain Python."""
    feed = pl.DataFrame(DeltaTable(uri).load_cdf(starting_version=0).read_all())
    order = {"delete": 0, "update_preimage": 0, "insert": 1, "update_postimage": 1}
    state: dict[str, tuple[str, int, int | None, str | None]] = {}
    changes = feed.select(KEY, OFFSET, "n", "extra", "_change_type", "_commit_version").rows()
    for key, offset, n, extra, change, _ in sorted(changes, key=lambda c: (c[5], order[c[4]])):
        if order[change]:
            assert key not in state
            state[key] = (key, offset, n, extra)
        else:
            assert state.pop(key) == (key, offset, n, extra)
    return sorted(state.values())


def test_both_kinds_begin_with_the_metadata_columns(tmp_path: Path) -> None:
    """Delta keeps statistics of the first 32 columns only; reading by offset needs those of the offsets."""
    for kind in Kind:
        assert list(DeltaLakeTable(tmp_path / kind, kind).open(STREAM).schema)[: len(METADATA)] == list(
            METADATA
        )
