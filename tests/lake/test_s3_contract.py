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


class TestDeltaChangelog(_Delta, LakeTableContract):
    kind = Kind.CHANGELOG


class TestIcebergCurrentInShort(_Iceberg):
    """What a merge does besides."""

    kind = Kind.CURRENT
    test_a_merge_inserts_replaces_and_deletes = MergeContract.test_a_merge_inserts_replaces_and_deletes
    test_mergers_at_once_lose_nothing = MergeContract.test_mergers_at_once_lose_nothing
    test_any_key_is_found_again = MergeContract.test_any_key_is_found_again
    test_info_travels_with_the_commit = MergeContract.test_info_travels_with_the_commit


class TestDeltaCurrentInShort(_Delta):
    kind = Kind.CURRENT
    test_a_merge_adds_columns_and_nested_fields = MergeContract.test_a_merge_adds_columns_and_nested_fields
    test_a_merge_that_changes_no_row_records_its_offsets = (
        MergeContract.test_a_merge_that_changes_no_row_records_its_offsets
    )
    test_a_merge_with_a_stale_handle_leaves_no_trace = (
        MergeContract.test_a_merge_with_a_stale_handle_leaves_no_trace
    )
    test_mergers_at_once_lose_nothing = MergeContract.test_mergers_at_once_lose_nothing


@pytest.mark.matrix
class TestIcebergChangelog(_Iceberg, LakeTableContract):
    kind = Kind.CHANGELOG


@pytest.mark.matrix
class TestDeltaCurrent(_Delta, MergeContract):
    kind = Kind.CURRENT


@pytest.mark.matrix
class TestIcebergCurrent(_Iceberg, MergeContract):
    kind = Kind.CURRENT
