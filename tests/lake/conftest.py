"""What several tests of lake tables need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.lake.iceberg.catalog import on_sqlite
from tests.lake.proxy import Proxy, proxy


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    """On SQLite, with its tables in the test's folder."""
    made = on_sqlite("lake", tmp_path / "catalog.db", tmp_path.as_uri())
    yield made
    made.close()


@pytest.fixture
def faulty() -> Iterator[Proxy]:
    """A server of which nobody knows what it is: it answers as it is told."""
    with proxy() as made:
        yield made
