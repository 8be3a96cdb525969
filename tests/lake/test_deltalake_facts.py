"""What deltalake itself does: the facts ``lake.delta`` is built on, each seen on 1.6.6.

When a new version of the library makes one of these fail, read the adapter's docstring before changing the
test: a guard may have become unnecessary, or may no longer guard.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

APP = "cdc/cluster/topic/uuid/0"


def committing(offset: int, retries: int | None = 0) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(APP, offset)], max_commit_retries=retries)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    path = str(tmp_path / "table")
    write_deltalake(path, pl.DataFrame({"id": ["a", "b"], "n": [1, 2]}), commit_properties=committing(2))
    return path


def rows(uri: str) -> list[tuple[object, ...]]:
    return sorted(pl.read_delta(uri).rows())


@pytest.mark.parametrize("retries", [0, None], ids=["strict", "the default"])
def test_a_commit_of_a_transaction_that_moved_since_the_handle_is_refused(
    uri: str, retries: int | None
) -> None:
    late, winner = DeltaTable(uri), DeltaTable(uri)
    assert late.transaction_version(APP) == 2
    batch = pl.DataFrame({"id": ["c"], "n": [3]})
    write_deltalake(winner, batch, mode="append", commit_properties=committing(3))
    with pytest.raises(CommitFailedError):
        write_deltalake(late, batch, mode="append", commit_properties=committing(3, retries))
    assert len(rows(uri)) == 3


def test_a_handle_that_is_opened_after_the_others_commit_doubles_the_rows(uri: str) -> None:
    """The transaction alone is no guard: offsets must be read from the very handle that commits."""
    batch = pl.DataFrame({"id": ["c"], "n": [3]})
    for _ in range(2):
        write_deltalake(DeltaTable(uri), batch, mode="append", commit_properties=committing(3))
    assert rows(uri) == [("a", 1), ("b", 2), ("c", 3), ("c", 3)]


def test_without_retries_a_commit_after_any_other_is_refused(uri: str) -> None:
    late = DeltaTable(uri)
    write_deltalake(uri, pl.DataFrame({"id": ["c"], "n": [3]}), mode="append")
    with pytest.raises(CommitFailedError):
        write_deltalake(
            late, pl.DataFrame({"id": ["d"], "n": [4]}), mode="append", commit_properties=committing(3)
        )
    assert DeltaTable(uri).transaction_version(APP) == 2


def test_a_merge_that_changes_no_row_commits_nothing(uri: str) -> None:
    table = DeltaTable(uri)
    (
        table.merge(
            pl.DataFrame({"id": ["ghost"], "n": [0]}),
            "t.id = s.id",
            source_alias="s",
            target_alias="t",
            streamed_exec=False,
            commit_properties=committing(9),
        )
        .when_matched_delete()
        .execute()
    )
    assert DeltaTable(uri).version() == 0
    assert DeltaTable(uri).transaction_version(APP) == 2


def test_an_append_without_rows_commits_its_transaction(uri: str) -> None:
    table = DeltaTable(uri)
    empty = pl.DataFrame({"id": ["x"], "n": [0]}).clear()
    write_deltalake(table, empty, mode="append", commit_properties=committing(9))
    assert DeltaTable(uri).version() == 1
    assert DeltaTable(uri).transaction_version(APP) == 9
    assert rows(uri) == [("a", 1), ("b", 2)]


def test_fractions_are_cut_off_in_silence_on_the_way_into_an_integer_column(uri: str) -> None:
    write_deltalake(uri, pl.DataFrame({"id": ["c"], "n": [1.5]}), mode="append", schema_mode="merge")
    assert rows(uri)[-1] == ("c", 1)


def test_a_new_key_that_is_twice_in_a_merge_is_inserted_twice(uri: str) -> None:
    source = pl.DataFrame({"id": ["c", "c"], "n": [3, 4]})
    merger = DeltaTable(uri).merge(source, "t.id = s.id", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()
    assert rows(uri) == [("a", 1), ("b", 2), ("c", 3), ("c", 4)]


def test_a_known_key_that_is_twice_in_a_merge_is_refused(uri: str) -> None:
    source = pl.DataFrame({"id": ["a", "a"], "n": [3, 4]})
    merger = DeltaTable(uri).merge(source, "t.id = s.id", source_alias="s", target_alias="t")
    with pytest.raises(DeltaError):
        merger.when_matched_update_all().when_not_matched_insert_all().execute()
    assert rows(uri) == [("a", 1), ("b", 2)]


def test_a_merge_without_merge_schema_drops_new_columns_in_silence(uri: str) -> None:
    source = pl.DataFrame({"id": ["a"], "n": [3], "more": ["lost"]})
    merger = DeltaTable(uri).merge(source, "t.id = s.id", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()
    assert pl.read_delta(uri).columns == ["id", "n"]
    assert rows(uri) == [("a", 3), ("b", 2)]


def test_a_merge_that_evolves_the_schema_forgets_the_tables_description(tmp_path: Path) -> None:
    path = str(tmp_path / "described")
    write_deltalake(path, pl.DataFrame({"id": ["a"], "n": [1]}), description="cdc stream")
    source = pl.DataFrame({"id": ["a"], "n": [3], "more": ["x"]})
    merger = DeltaTable(path).merge(
        source, "t.id = s.id", source_alias="s", target_alias="t", merge_schema=True
    )
    merger.when_matched_update_all().when_not_matched_insert_all().execute()
    assert DeltaTable(path).metadata().description != "cdc stream"


def test_an_append_that_evolves_the_schema_keeps_the_tables_description(tmp_path: Path) -> None:
    path = str(tmp_path / "described")
    write_deltalake(path, pl.DataFrame({"id": ["a"], "n": [1]}), description="cdc stream")
    write_deltalake(path, pl.DataFrame({"more": ["x"]}).clear(), mode="append", schema_mode="merge")
    assert DeltaTable(path).metadata().description == "cdc stream"
    assert pl.read_delta(path).columns == ["id", "n", "more"]


def test_large_lists_cannot_be_compacted_once_their_documents_gained_a_field(tmp_path: Path) -> None:
    """polars hands over large lists; the adapter makes plain ones of them."""
    path = str(tmp_path / "lists")
    write_deltalake(path, pl.DataFrame({"items": [[{"sku": "a"}]]}))
    more = pl.DataFrame({"items": [[{"sku": "b", "n": 1}]]})
    write_deltalake(path, more, mode="append", schema_mode="merge")
    with pytest.raises(DeltaError, match="LargeList"):
        DeltaTable(path).optimize.compact()


def test_a_restore_takes_back_the_rows_and_not_the_transaction(uri: str) -> None:
    """So a table that was restored must not be gone on with by its offsets alone."""
    batch = pl.DataFrame({"id": ["c"], "n": [3]})
    write_deltalake(DeltaTable(uri), batch, mode="append", commit_properties=committing(3))
    table = DeltaTable(uri)
    table.restore(0)
    assert rows(uri) == [("a", 1), ("b", 2)]
    assert DeltaTable(uri).transaction_version(APP) == 3
