"""A Delta table found or made, and what is said when it cannot be reached.

Invariant: of two creators at once the second finds the table of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Contents, Kind
from cdc_platform.core.offsets import Stream
from cdc_platform.core.position import Engine, made_with
from cdc_platform.lake.delta.owner import description
from cdc_platform.lake.delta.replacing import APPEND_ONLY
from cdc_platform.lake.place import require_conditional_put
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.lake.store import Place, delta_options

CONFIGURATION: Final[Mapping[Contents, Mapping[str, str | None]]] = {
    "dead_letters": {APPEND_ONLY: "true"},
    "schemas": {APPEND_ONLY: "true"},
    Kind.CHANGELOG: {"delta.enableChangeDataFeed": "true", APPEND_ONLY: "true"},
    Kind.CURRENT: {"delta.enableChangeDataFeed": "true"},
}
_CHECKPOINT_EVERY: Final = "10"
"""Commits between two checkpoints in S3: opening a table asks twice for each commit since the last one."""

_WHAT: Final = ("the disk's space and the folder's permissions", "the store, the network and the credentials")


def loaded(place: Place) -> DeltaTable:
    """At its newest version. Raises TableNotFoundError if there is none."""
    try:
        return DeltaTable(str(place), storage_options=delta_options(place))
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        raise unavailable(place, "could not be read", error) from error


def found_or_made(
    place: Place, kind: Contents, partition_by: Sequence[str], engine: Engine, stream: Stream
) -> DeltaTable:
    """Raises Terminal for one that is partitioned otherwise."""
    if isinstance(place, S3Folder):
        require_conditional_put(place)
    try:
        table = loaded(place)
    except TableNotFoundError:
        table = _made(place, kind, partition_by, engine, stream)
    if (found := table.metadata().partition_columns) != list(partition_by):
        raise Terminal(
            f"the table is partitioned by {_named(found)}, declared is {_named(partition_by)}",
            where=str(place),
            remedy="a table keeps its partitioning: declare the table's own (partition_by or "
            "partition_collections_by of the source), or take a new snapshot into a new table",
        )
    return table


def unavailable(place: Place, what: str, error: Exception) -> Transient:
    return Transient(
        f"the Delta table {what}: {error}",
        where=str(place),
        remedy=f"check {_WHAT[type(place) is S3Folder]}; nothing is lost, the table's own offsets "
        "say where to go on",
    )


def _made(
    place: Place, kind: Contents, partition_by: Sequence[str], engine: Engine, stream: Stream
) -> DeltaTable:
    often = {"delta.checkpointInterval": _CHECKPOINT_EVERY} if isinstance(place, S3Folder) else {}
    try:
        # mode="ignore" looks before it creates: of two creators at once the second is refused.
        with suppress(CommitFailedError):
            DeltaTable.create(
                str(place),
                schema=stored(pl.DataFrame(schema=made_with(kind, engine))).schema,
                mode="ignore",
                partition_by=list(partition_by) or None,
                description=description(stream),
                configuration={**CONFIGURATION[kind], **often},
                storage_options=delta_options(place),
            )
        return loaded(place)
    except (DeltaError, OSError) as error:
        raise unavailable(place, "could not be created", error) from error


def _named(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "nothing"
