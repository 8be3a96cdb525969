"""The catalog that knows the lake's Iceberg tables: an embedded one, or any that pyiceberg is configured for.

Invariants
- Nothing is opened before the first table is needed, and a process opens a catalog once.
- The embedded catalog keeps no connection between two calls (``NullPool``): any number of threads and
  processes use its database at once. Who finds it locked waits for ``PATIENCE_S``, and no longer.
- A commit is sent once. Where the client of a catalog would send it again by itself (Glue), it is told not
  to: the second one is refused if the first one was applied and its answer lost, and pyiceberg removes the
  manifests of a commit that was refused.
- A table gets the credentials of the moment when it is loaded: those of S3 may have been renewed since the
  catalog was opened. What pyiceberg's own configuration says of a store counts; the lake's own store fills
  in what that leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast

from pydantic import ValidationError as UnreadableAnswer
from pyiceberg.catalog import Catalog, CatalogType, infer_catalog_type, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchPropertyException, NotInstalledError
from pyiceberg.utils.config import Config
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from cdc_platform.core.errors import CdcError, Terminal
from cdc_platform.lake.iceberg.credentials import fill_in
from cdc_platform.lake.iceberg.failures import UNREACHABLE, told
from cdc_platform.lake.iceberg.rest import BoundedRestCatalog
from cdc_platform.lake.place import require_conditional_put
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.lake.store import Place

EMBEDDED = "cdc"
"""Name of the embedded catalog, by which other readers know its tables in the database."""

PATIENCE_S: Final = 15.0
"""Seconds for which a locked database is waited for."""

_opening: Final = Lock()


def embedded(root: Place, beside: Path | None = None) -> SqlCatalog:
    """On SQLite, ``<beside>/iceberg/catalog.db``, with the tables in ``<root>/iceberg``.

    ``beside``: a local folder; the lake's root itself unless it is in S3. Raises
    Transient, and what ``require_conditional_put`` raises.
    """
    folder = beside or root
    assert isinstance(folder, Path)
    if away := isinstance(root, S3Folder):
        require_conditional_put(root)
    with _opening:
        catalog, own = _embedded(folder / "iceberg", str(root / "iceberg") if away else None)
    fill_in(catalog, own, root)
    return catalog


def configured(name: str, root: Place | None = None) -> Catalog:
    """As pyiceberg finds it in its own configuration: ``PYICEBERG_CATALOG__<NAME>__URI`` and so on, or
    ``.pyiceberg.yaml``. ``root``: the lake's, whose store counts where that says nothing.

    Raises Terminal for one that is not configured or not well, Transient for one that does not answer.
    """
    with _opening:
        catalog, own = _configured(name)
    fill_in(catalog, own, root)
    return catalog


def on_sqlite(name: str, database: Path, warehouse: str, patience: float = PATIENCE_S) -> SqlCatalog:
    """A catalog in a file, made if there is none. ``patience``: seconds to wait for a locked database."""
    uri = URL.create("sqlite", database=str(database), query={"timeout": str(patience)}).render_as_string()
    where = str(database)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes that make its tables at once, all but one find them there.
        made = Retrying(stop=stop_after_attempt(5), retry=retry_if_exception(_made_meanwhile), reraise=True)
        catalog = made(SqlCatalog, name, uri=uri, warehouse=warehouse)
    except UNREACHABLE as error:
        remedy = "check that this user may write the folder, and that its disk has room"
        raise told(error, "the embedded Iceberg catalog could not be opened", where, remedy) from error
    catalog.engine.dispose()
    catalog.engine = create_engine(uri, poolclass=NullPool)
    return catalog


def opened(name: str, configuration: dict[str, Any]) -> Catalog:
    """A catalog of pyiceberg's by its properties. Raises as ``configured``."""
    try:
        kind = CatalogType(configuration.get("type") or infer_catalog_type(name, cast(Any, configuration)))
        if kind is CatalogType.REST and "uri" in configuration:
            # Upkeep has to know every snapshot, or it would take the files of others for orphans.
            return BoundedRestCatalog(name, **{**configuration, "snapshot-loading-mode": "all"})
        if kind is CatalogType.GLUE:
            configuration = {**configuration, "glue.max-retries": 0}
        return load_catalog(name, **configuration)
    except (*_MISCONFIGURED, *UNREACHABLE) as error:
        raise _not_opened(error, name) from error


_MISCONFIGURED: Final = (
    ArgumentError,
    ImportError,
    KeyError,
    NoSuchModuleError,
    NoSuchPropertyException,
    NotInstalledError,
    TypeError,
    ValueError,
)


def _not_opened(error: Exception, name: str) -> CdcError:
    where = f"CDC_ICEBERG_CATALOG={name}"
    if isinstance(error, _MISCONFIGURED) and not isinstance(error, UnreadableAnswer):
        variable = f"PYICEBERG_CATALOG__{name.upper().replace('-', '_')}"
        return Terminal(
            f"the Iceberg catalog is not configured, or not well: {type(error).__name__}: {error}",
            where=where,
            remedy=f"set {variable}__TYPE, __URI and __WAREHOUSE, or catalog.{name} in .pyiceberg.yaml; "
            "without CDC_ICEBERG_CATALOG the embedded catalog is used",
        )
    remedy = "check that it runs, and its uri, warehouse and credentials in pyiceberg's configuration"
    return told(error, "the Iceberg catalog could not be opened", where, remedy)


@cache
def _embedded(folder: Path, warehouse: str | None) -> tuple[SqlCatalog, Mapping[str, str]]:
    """With its own properties. ``warehouse``: None for the folder itself."""
    if set("?#") & set(str(folder)):
        raise Terminal(
            "the folder's name has ? or #, which pyiceberg does not take for parts of a path",
            where=str(folder),
            remedy="set CDC_LAKE_ROOT to another folder",
        )
    # Not as_uri: pyiceberg takes the path as it stands, so that "%20" would be part of a name.
    catalog = on_sqlite(EMBEDDED, folder / "catalog.db", warehouse or f"file://{folder}")
    return catalog, catalog.properties


@cache
def _configured(name: str) -> tuple[Catalog, Mapping[str, str]]:
    """With its own properties, and those that its server gives."""
    known = Config()
    # A variable's name has no "-": pyiceberg reads MY_LAKE as the catalog my-lake.
    found = known.get_catalog_config(name) or known.get_catalog_config(name.replace("_", "-"))
    catalog = opened(name, dict(found or {}))
    return catalog, catalog.properties


def _made_meanwhile(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and "already exists" in str(error)
