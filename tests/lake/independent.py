"""What an Iceberg table holds, by a reader that shares nothing with ours: DuckDB's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from cdc_platform.local.packaged import package_directory


@contextmanager
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """With its extensions for Delta and Iceberg, as they come from the package registry."""
    with duckdb.connect() as connection:
        for path in sorted(package_directory("duckdb_ext").rglob("*.duckdb_extension")):
            connection.execute(f"LOAD '{path}'")
        yield connection


def places(metadata: str) -> list[tuple[int, int, str]]:
    """Partition, offset and key of every row, in this order. ``metadata``: the newest metadata file."""
    # The reference REST catalog names its files as Java does.
    path = metadata.replace("file:///", "/").replace("file:/", "/")
    with duck() as connection:
        found = connection.execute(
            f"SELECT _kafka_partition, _kafka_offset, _key FROM iceberg_scan('{path}') ORDER BY ALL"
        )
        return found.fetchall()
