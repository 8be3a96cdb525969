"""What several tests of lake tables need."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.lake.iceberg.catalog import on_sqlite, opened
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.local import iceberg_rest
from cdc_platform.local.s3 import S3Server, serving
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
from tests.lake.buckets import access
from tests.lake.proxy import Proxy, proxy


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    """On SQLite, with its tables in the test's folder."""
    made = on_sqlite("lake", tmp_path / "catalog.db", tmp_path.as_uri())
    yield made
    made.close()


@pytest.fixture(scope="session")
def rest_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Iceberg's reference REST catalog. It ends with the session, also when that is killed."""
    folder = tmp_path_factory.mktemp("iceberg-rest")
    with Stack.attached(folder / "stack", StackSettings(), ephemeral=True) as stack:
        yield iceberg_rest.start(stack, folder)


@pytest.fixture
def rest_catalog(rest_url: str) -> Iterator[Catalog]:
    """The same, opened. What the test made in it is gone afterwards."""
    made = opened("rest", {"type": "rest", "uri": rest_url})
    yield made
    for namespace in made.list_namespaces():
        for table in made.list_tables(namespace):
            made.drop_table(table)
        made.drop_namespace(namespace)
    made.close()


@pytest.fixture
def faulty() -> Iterator[Proxy]:
    """A server of which nobody knows what it is: it answers as it is told."""
    with proxy() as made:
        yield made


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3"), random.SystemRandom()) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> S3Folder:
    """The lake's root in a bucket of its own."""
    name = f"test-{uuid.uuid4().hex}"
    s3_server.make_bucket(name)
    return S3Folder(name, "lake", (), lambda: access(s3_server.endpoint))
