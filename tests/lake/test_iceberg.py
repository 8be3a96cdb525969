"""The contract over Iceberg tables in a catalog on SQLite."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import UPDATE
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact
from tests.lake.contract import LakeTableContract, MergeContract, Tables, apply, content
from tests.lake.rows import STREAM, fitted, row


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


def test_times_beyond_the_years_that_python_has_are_kept(catalog: SqlCatalog) -> None:
    table = IcebergLakeTable(lambda: catalog, ("shop", "orders"), Kind.CURRENT)
    micros = [-80_000_000_000_000_000, 0, 300_000_000_000_000_000]
    handle = table.open(STREAM)
    rows = fitted(handle, [row(0, n, f"k{n}", at=None) for n in range(3)], at=pl.Datetime("us", "UTC"))
    rows = rows.with_columns(pl.Series("at", micros).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    table.merge(handle, rows, {0: Range(0, 3)}, {})
    assert content(table)["at"].cast(pl.Int64).to_list() == micros
    apply(table, [row(0, 3, "k1", UPDATE)], {0: Range(3, 4)}, at=pl.Datetime("us", "UTC"))
    compact(catalog, ("shop", "orders"))
    assert content(table)["at"].cast(pl.Int64).to_list() == [micros[0], micros[2], None]
