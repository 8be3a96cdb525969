"""Marks of logical types in a Delta table's schema: written with the columns, read back here.

Invariant: a mark is in the metadata of the field it is about, or, for the items of a list, of the list's
field, as items have no metadata of their own. Delta keeps a field's metadata through appends, merges and
compaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from deltalake import DeltaTable

from cdc_platform.core.logical import MARK, Path, marked


def logical(table: DeltaTable, schema: pl.Schema) -> pl.Schema:
    """The columns by their logical types. ``schema``: the columns as stored."""
    marks = dict(_marks((), {"type": json.loads(table.schema().to_json())}))
    return pl.Schema({name: marked(dtype, marks, (name,)) for name, dtype in schema.items()})


def _marks(path: Path, field: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """``field``: as in Delta's schema."""
    metadata = field.get("metadata", {})
    dtype, suffix = field["type"], ""
    while isinstance(dtype, dict) and dtype["type"] == "array":
        dtype, suffix, path = dtype["elementType"], f"{suffix}[]", (*path, None)
    if mark := metadata.get(MARK + suffix):
        yield path, mark
    for each in dtype["fields"] if isinstance(dtype, dict) and dtype["type"] == "struct" else ():
        yield from _marks((*path, each["name"]), each)
