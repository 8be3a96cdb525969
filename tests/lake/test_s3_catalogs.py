"""Iceberg catalogs on a lake in S3: whose settings count, and credentials that are renewed."""

from __future__ import annotations

import uuid
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.settings import Settings
from cdc_platform.lake.iceberg.catalog import configured, embedded, on_sqlite
from cdc_platform.lake.iceberg.credentials import fill_in
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.local.s3 import S3Server
from cdc_platform.platform import lake_of
from tests.lake.contract import add, content
from tests.lake.rows import STREAM, row


@pytest.fixture
def mine(bucket: S3Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a catalog that pyiceberg is configured for, with nothing said of the store."""
    name = f"mine{uuid.uuid4().hex[:8]}"
    of_it = f"PYICEBERG_CATALOG__{name.upper()}__"
    monkeypatch.setenv(f"{of_it}TYPE", "sql")
    monkeypatch.setenv(f"{of_it}URI", f"sqlite:///{tmp_path}/mine.db")
    monkeypatch.setenv(f"{of_it}WAREHOUSE", f"s3://{bucket.bucket}/mine")
    return name


def test_a_configured_catalog_reaches_the_store_with_what_the_lake_has(
    mine: str, bucket: S3Folder, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(lake_root=f"s3://{bucket.bucket}/lake", iceberg_catalog=mine, state_dir=tmp_path)
    table = lake_of(settings, Format.ICEBERG).table(("shop", "orders"), Kind.CURRENT)
    add(table, [row(0, 0, "a", n=1)], {0: Range(0, 1)})
    assert content(table)["n"].to_list() == [1]
    keys = s3_server.client().list_objects_v2(Bucket=bucket.bucket)["Contents"]
    assert all(each["Key"].startswith("mine/shop/orders/") for each in keys)


def test_what_its_configuration_says_of_the_store_counts(
    mine: str, bucket: S3Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_it = f"PYICEBERG_CATALOG__{mine.upper()}__S3__"
    monkeypatch.setenv(f"{of_it}ACCESS_KEY_ID", "its own")
    monkeypatch.setenv(f"{of_it}SECRET_ACCESS_KEY", "its own")
    monkeypatch.setenv(f"{of_it}ENDPOINT", "http://elsewhere:9000")
    tokened = replace(bucket, access=lambda: replace(bucket.access(), token="of another key"))
    found = configured(mine, tokened).properties
    assert found["s3.access-key-id"] == found["s3.secret-access-key"] == "its own"
    assert found["s3.endpoint"] == "http://elsewhere:9000"
    assert found["s3.region"] == bucket.access().region
    assert "s3.session-token" not in found


def test_a_lake_on_disk_gives_a_configured_catalog_nothing(mine: str, tmp_path: Path) -> None:
    assert not [name for name in configured(mine, tmp_path).properties if name.startswith("s3.")]


def test_tables_get_the_credentials_of_the_moment_they_are_loaded(bucket: S3Folder, tmp_path: Path) -> None:
    numbers = count(1)
    renewing = replace(bucket, access=lambda: replace(bucket.access(), token=f"token {next(numbers)}"))
    catalog = on_sqlite("lake", tmp_path / "catalog.db", str(bucket / "iceberg"))
    own = catalog.properties
    tokens = []
    for _ in range(3):
        fill_in(catalog, own, renewing)
        table = IcebergLakeTable(lambda: catalog, ("shop", "orders"), Kind.CHANGELOG)
        table.open(STREAM)
        tokens.append(catalog.load_table(("shop", "orders")).io.properties["s3.session-token"])
    assert len(set(tokens)) == 3
    assert "s3.session-token" not in own


def test_an_embedded_catalog_is_opened_once_and_lies_where_it_is_told(
    bucket: S3Folder, tmp_path: Path
) -> None:
    first, second = embedded(bucket, tmp_path), embedded(bucket, tmp_path)
    assert first is second
    assert (tmp_path / "iceberg" / "catalog.db").exists()
    assert first.properties["warehouse"] == str(bucket / "iceberg")
    on_disk = embedded(tmp_path / "lake")
    assert on_disk.properties["warehouse"] == f"file://{tmp_path}/lake/iceberg"
