"""The catalog that knows the lake's Iceberg tables: an embedded one, or any that pyiceberg is configured for.

Invariant: nothing is opened before the first table is needed, and a process opens a catalog once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog

EMBEDDED = "cdc"
"""Name of the embedded catalog, by which other readers know its tables in the database."""


@cache
def embedded(root: Path) -> SqlCatalog:
    """On SQLite, ``<root>/iceberg/catalog.db``, with the tables beside it."""
    folder = root / "iceberg"
    folder.mkdir(parents=True, exist_ok=True)
    return SqlCatalog(EMBEDDED, uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=folder.as_uri())


@cache
def configured(name: str) -> Catalog:
    """As pyiceberg finds it in its own configuration: ``PYICEBERG_CATALOG__<NAME>__URI`` and so on, or
    ``.pyiceberg.yaml``."""
    return load_catalog(name)
