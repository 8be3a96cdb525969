"""The contract over tables in S3.

Each property is held to one of the tables here; all properties of all tables are ``make test-matrix``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from deltalake import DeltaTable

from cdc_platform.core.model import Kind
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.s3 import S3Folder
from tests.lake.contract import LakeTableContract, MergeContract, Tables
from tests.lake.test_contract import newest_exchange


class _Delta:
    kind: Kind

    @pytest.fixture
    def tables(self, bucket: S3Folder) -> Tables:
        self.place = bucket / "delta" / "shop" / "orders"
        return lambda: DeltaLakeTable(self.place, self.kind)

    def info(self, table: LakeTable) -> Mapping[str, str]:
        found: Mapping[str, str] = DeltaTable(table.uri, storage_options=self.place.access().delta).history(
            1
        )[0]
        return found

    def info_of_the_exchange(self, table: LakeTable) -> Mapping[str, str]:
        return newest_exchange(DeltaTable(table.uri, storage_options=self.place.access().delta))


class _Iceberg:
    kind: Kind

    @pytest.fixture
    def tables(self, bucket: S3Folder, tmp_path: Path) -> Iterator[Tables]:
        catalog = on_sqlite("lake", tmp_path / "catalog.db", str(bucket / "iceberg"))
        catalog.properties = {**catalog.properties, **bucket.access().iceberg}
        yield lambda: IcebergLakeTable(lambda: catalog, ("shop", "orders"), self.kind)
        catalog.close()

    def info(self, table: LakeTable) -> Mapping[str, str]:
        assert isinstance(table, IcebergLakeTable)
        return table.newest_info()


class TestDeltaChangelogInShort(_Delta):
    kind = Kind.CHANGELOG
    test_creators_at_once_end_in_one_table = LakeTableContract.test_creators_at_once_end_in_one_table
    test_rows_and_offsets_are_committed_together = (
        LakeTableContract.test_rows_and_offsets_are_committed_together
    )
    test_a_stale_append_without_rows_is_refused_as_well = (
        LakeTableContract.test_a_stale_append_without_rows_is_refused_as_well
    )
    test_positions_are_kept_with_the_commit_and_stay_until_the_next_ones = (
        LakeTableContract.test_positions_are_kept_with_the_commit_and_stay_until_the_next_ones
    )
    test_an_older_handle_still_reads_its_own_version = (
        LakeTableContract.test_an_older_handle_still_reads_its_own_version
    )
    test_offsets_and_positions_are_exactly_those_given_with_the_rows = (
        LakeTableContract.test_offsets_and_positions_are_exactly_those_given_with_the_rows
    )
    test_frames_are_taken_one_at_a_time_and_become_one_commit = (
        LakeTableContract.test_frames_are_taken_one_at_a_time_and_become_one_commit
    )
    assert_every_range_is_exact = LakeTableContract.assert_every_range_is_exact
    test_the_size_of_a_row_is_that_of_the_largest_rows_in_the_ranges = (
        LakeTableContract.test_the_size_of_a_row_is_that_of_the_largest_rows_in_the_ranges
    )


class TestIcebergCurrentInShort(_Iceberg):
    kind = Kind.CURRENT
    test_a_merge_inserts_replaces_and_deletes = MergeContract.test_a_merge_inserts_replaces_and_deletes
    test_new_columns_and_nested_fields_appear_and_old_rows_give_null = (
        LakeTableContract.test_new_columns_and_nested_fields_appear_and_old_rows_give_null
    )
    test_info_travels_with_the_commit = MergeContract.test_info_travels_with_the_commit
    test_merges_go_on_from_what_was_exchanged = MergeContract.test_merges_go_on_from_what_was_exchanged
    test_an_exchange_with_a_stale_handle_leaves_no_trace = (
        LakeTableContract.test_an_exchange_with_a_stale_handle_leaves_no_trace
    )


class TestDeltaCurrentInShort(_Delta):
    kind = Kind.CURRENT
    test_a_merge_adds_columns_and_nested_fields = MergeContract.test_a_merge_adds_columns_and_nested_fields
    test_mergers_at_once_lose_nothing = MergeContract.test_mergers_at_once_lose_nothing


@pytest.mark.matrix
class TestDeltaChangelog(_Delta, LakeTableContract):
    kind = Kind.CHANGELOG


@pytest.mark.matrix
class TestIcebergChangelog(_Iceberg, LakeTableContract):
    kind = Kind.CHANGELOG


@pytest.mark.matrix
class TestDeltaCurrent(_Delta, MergeContract):
    kind = Kind.CURRENT


@pytest.mark.matrix
class TestIcebergCurrent(_Iceberg, MergeContract):
    kind = Kind.CURRENT
