"""Exchanging all rows and columns of a Delta table in one commit.

Invariants (measured on deltalake 1.6; the contract suite pins them)
- The new files are written first, frame by frame, as a table of their own in a folder inside the table's:
  what is held is one frame, and nothing of it is the table's until the one commit that names them and takes
  out all others. deltalake's own overwrite puts up to 8192 rows together before it writes any, however large.
- That commit keeps the table's identity, description, configuration and partitioning.
- A table that may only be appended to (APPEND_ONLY) refuses it. So that is lifted in a commit before it and
  put back in one after it, both with the table's standing, and refused as any other commit if somebody came
  first. After a crash in between the table is whole, old or new; the next append or exchange puts it back.
- Files of a writer that was killed before its commit go with the next clean-up, as those of any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Final
from urllib.parse import unquote
from uuid import uuid4

import orjson
import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from pyarrow.fs import PyFileSystem

from cdc_platform.core.logical import stored
from cdc_platform.lake.store import Place, delta_options, read

APPEND_ONLY: Final = "delta.appendOnly"

HOOKS: Final = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)

_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

_LOG: Final = "_delta_log"


class NewFiles:
    """Files in a table's place that are not the table's yet. ``actions``: what a commit has to name."""

    def __init__(self, place: Place, columns: pa.Schema, partitioned_by: Sequence[str]) -> None:
        self._folder = f"rebuilt-{uuid4()}"
        self._place = place / self._folder
        self._columns = columns
        self._partitioned_by = partitioned_by
        self.actions: list[AddAction] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Raises ValueError for other columns than the table's."""
        found = stored(rows)
        if found.schema != self._columns:
            raise ValueError(f"columns {found.schema} instead of {self._columns}")
        table = self._table
        write_deltalake(table, found, mode="append", post_commithook_properties=_NO_HOOKS)
        log = read(self._place / _LOG / f"{table.version():020}.json")
        told = (orjson.loads(line).get("add") for line in log.splitlines())
        self.actions += [
            AddAction(
                f"{self._folder}/{unquote(add['path'])}",
                add["size"],
                add["partitionValues"],
                add["modificationTime"],
                data_change=True,
                stats=add["stats"],
            )
            for add in told
            if add
        ]

    @cached_property
    def _table(self) -> DeltaTable:
        return DeltaTable.create(
            str(self._place),
            schema=self._columns,
            partition_by=list(self._partitioned_by) or None,
            storage_options=delta_options(self._place),
        )

    def forget_log(self) -> None:
        """The files are another table's now, or nobody's."""
        store = PyFileSystem(DeltaStorageHandler(str(self._place), delta_options(self._place)))
        store.delete_dir(_LOG)


@contextmanager
def new_files(place: Place, columns: pa.Schema, partitioned_by: Sequence[str]) -> Iterator[NewFiles]:
    """``place``: the table's. ``columns``, ``partitioned_by``: as it will have them."""
    made = NewFiles(place, columns, partitioned_by)
    try:
        yield made
    finally:
        with suppress(DeltaError, OSError):  # what is left of it goes with the next clean-up
            if made.actions:
                made.forget_log()


def exchange(table: DeltaTable, files: NewFiles, columns: pa.Schema, commit: CommitProperties) -> None:
    """The one commit, against the version that ``table`` stands at; it stands at the next one then."""
    made = table.version() + 1
    table.create_write_transaction(
        list(files.actions),
        "overwrite",
        columns,
        partition_by=table.metadata().partition_columns,
        commit_properties=commit,
        post_commithook_properties=HOOKS,
    )
    table.load_as_version(made)  # deltalake leaves it where it was


def set_description(table: DeltaTable, text: str, commit: CommitProperties) -> None:
    """In a commit of its own, which changes no row."""
    table.alter.set_table_description(text, commit_properties=commit, post_commithook_properties=HOOKS)


def append_only(table: DeltaTable) -> bool:
    return table.metadata().configuration.get(APPEND_ONLY) == "true"


def set_append_only(table: DeltaTable, commit: CommitProperties, *, only: bool) -> None:
    """In a commit of its own, which changes no row."""
    wanted = {APPEND_ONLY: str(only).lower()}
    table.alter.set_table_properties(wanted, commit_properties=commit, post_commithook_properties=HOOKS)
