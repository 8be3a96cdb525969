"""An Iceberg table found or made in its catalog.

Invariant: of two creators at once the second finds the table of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    ServerError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from sqlalchemy.exc import IntegrityError

from cdc_platform.core.logical import stored
from cdc_platform.core.model import Contents
from cdc_platform.core.offsets import Stream
from cdc_platform.core.position import Engine, made_with
from cdc_platform.lake.iceberg.marks import documented
from cdc_platform.lake.iceberg.order import declared
from cdc_platform.lake.iceberg.properties import made_for


def found_or_made(
    catalog: Catalog,
    identifier: tuple[str, ...],
    kind: Contents,
    partition_by: Sequence[str],
    engine: Engine,
    stream: Stream,
) -> Table:
    """``partition_by``: columns of METADATA, for a table that is made. Raises the catalog's errors."""
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return _made(catalog, identifier, kind, partition_by, engine, stream)


def _made(
    catalog: Catalog,
    identifier: tuple[str, ...],
    kind: Contents,
    partition_by: Sequence[str],
    engine: Engine,
    stream: Stream,
) -> Table:
    schema = documented(stored(pl.DataFrame(schema=made_with(kind, engine))).schema)
    _make_namespace(catalog, identifier[:-1])
    # Of two creators at once one is refused: by the catalog, or by the database below it.
    with (
        suppress(TableAlreadyExistsError, CommitFailedException, IntegrityError),
        catalog.create_table_transaction(identifier, schema, properties=made_for(stream)) as transaction,
        transaction.update_spec() as spec,
        transaction.update_sort_order() as order,
    ):
        for name in partition_by:
            spec.add_identity(name)
        for name in declared(kind):
            order.asc(name, IdentityTransform())
    return catalog.load_table(identifier)


def _make_namespace(catalog: Catalog, namespace: tuple[str, ...]) -> None:
    try:
        catalog.create_namespace_if_not_exists(namespace)
    except (NamespaceAlreadyExistsError, IntegrityError, ServerError):
        # Who comes second is refused; the reference REST catalog calls that an error of its own.
        if not catalog.namespace_exists(namespace):
            raise
