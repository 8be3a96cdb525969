"""The contract over Iceberg tables in a catalog on SQLite."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import KEY, UPDATE
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact
from tests.lake.contract import LakeTableContract, MergeContract, Tables, add, apply, content
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


@pytest.mark.parametrize(
    ("kind", "columns"), [(Kind.CURRENT, ["_key"]), (Kind.CHANGELOG, ["_kafka_partition", "_kafka_offset"])]
)
def test_a_table_declares_its_order_and_its_files_are_in_it(
    catalog: SqlCatalog, kind: Kind, columns: list[str]
) -> None:
    name = ("shop", "orders")
    table = IcebergLakeTable(lambda: catalog, name, kind)
    for n in (2, 0, 1):
        rows = [row(n, offset, f"k{offset * 7 % 5}{n}", v=n) for offset in (3, 1, 2)]
        change = add if kind is Kind.CHANGELOG else apply
        change(table, rows, {n: Range(0, 4)})
    if kind is Kind.CURRENT:
        apply(table, [row(0, 4, "k10", UPDATE)], {0: Range(4, 5)})
    compact(catalog, name)
    add(table, [row(2, 5, "z"), row(2, 4, "a")], {2: Range(4, 6)})
    stored = catalog.load_table(name)
    assert [
        stored.schema().find_column_name(each.source_id) for each in stored.sort_order().fields
    ] == columns
    files = [task.file for task in stored.scan().plan_files()]
    assert len(files) == 2
    for file in files:
        assert file.sort_order_id == stored.sort_order().order_id
        rows = pl.read_parquet(file.file_path.removeprefix("file://")).select(columns).rows()
        assert rows == sorted(rows)


def test_times_beyond_pythons_are_written_kept_and_compacted(catalog: SqlCatalog) -> None:
    table = IcebergLakeTable(lambda: catalog, ("shop", "old"), Kind.CURRENT)
    old = pl.Series("born", [-(10**6), 10**7, None, 0], dtype=pl.Int32).cast(pl.Date)
    at = pl.Series("at", [-(10**17), 10**18, None, 0], dtype=pl.Int64).cast(pl.Datetime("us"))
    for n in range(2):
        handle = table.open(STREAM)
        rows = fitted(handle, [row(0, 4 * n + each, f"k{each}") for each in range(4)])
        table.merge(handle, rows.with_columns(old, at), {0: Range(4 * n, 4 * n + 4)}, {})
    compact(catalog, ("shop", "old"))
    found = table.read(table.open(STREAM)).sort(KEY).collect()
    assert found["born"].to_physical().to_list() == old.to_physical().to_list()
    assert found["at"].to_physical().to_list() == at.to_physical().to_list()
