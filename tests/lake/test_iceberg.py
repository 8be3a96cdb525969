"""The contract over Iceberg tables in a catalog on SQLite."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.model import Kind
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from tests.lake.contract import LakeTableContract, MergeContract, Tables


class _Sql:
    kind: Kind

    @pytest.fixture
    def tables(self, catalog: SqlCatalog) -> Tables:
        return lambda: IcebergLakeTable(lambda: catalog, ("shop", "orders"), self.kind)

    def info(self, table: LakeTable) -> Mapping[str, str]:
        assert isinstance(table, IcebergLakeTable)
        return table.newest_info()


class TestChangelog(_Sql, LakeTableContract):
    kind = Kind.CHANGELOG


class TestCurrent(_Sql, MergeContract):
    kind = Kind.CURRENT
