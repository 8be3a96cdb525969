"""The gate every batch passes before it is written: does it fit the table, and what must the table gain?

Pure: types and values in, types and values out.

Invariants
- No value is cast, rounded, truncated or dropped to make it fit. The one conversion is an integer into a
  Float64 column, for integers a double holds without doubt (``SAFE_INTEGER``). Everything else is refused: a
  value changed here in silence would be wrong in every table, for ever, and no check could say since when.
- A table's column never changes its type; a table only gains fields. What was written stays readable.
- Names that differ only in case are refused: the lake's engines ignore case, one field would hide the other.
- ``null`` and a missing field are one in a column store. ``[]`` and ``{}`` are values: they stay what they
  are, and while nothing says what they are lists or structs *of*, they cannot be written.

A path is written as in ``customer.address.zip`` and ``items[].sku``; names with dots or brackets are quoted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION, TOPIC
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.logical import Path, instance, is_wrapper, named
from cdc_platform.core.widen import widen

SAFE_INTEGER: Final = 2**53 - 1
"""Largest integer whose neighbours are doubles too (IEEE 754): beyond it two integers can be one double."""

Sign = Callable[[pl.Series], bool]
"""Whether values found at a path hold one that does not fit."""


@dataclass(frozen=True, slots=True)
class Evolution:
    """``schema``: the table's after the batch. ``added``: paths of its new fields, outermost only."""

    schema: pl.Schema
    added: tuple[str, ...]


def _present(values: pl.Series) -> bool:
    return values.null_count() < len(values)


def _fractional(values: pl.Series) -> bool:
    return values.dtype == pl.Float64 and bool((values.floor() != values).any())


def _unsafe(values: pl.Series) -> bool:
    return values.dtype == pl.Int64 and not values.is_between(-SAFE_INTEGER, SAFE_INTEGER).all()


@dataclass(frozen=True, slots=True)
class Conflict:
    """One place where a batch does not fit. ``signs``: how to recognise a guilty value, best sign first.

    ``by_name``: no value of this field fits, because of its name.
    """

    path: Path
    what: str
    remedy: str
    signs: tuple[Sign, ...] = field(default=(_present,), compare=False)
    by_name: bool = False


def fit(rows: pl.DataFrame, table: pl.Schema, *, where: str) -> pl.DataFrame:
    """``evolve`` and ``conform`` in one step: the rows with the table's columns and then the new ones.

    ``table``: the table's schema, empty for a new table. Raises SchemaRefused naming topic, partition and
    offset (from the columns TOPIC, PARTITION and OFFSET) of the first row that does not fit.
    """
    evolution, conflicts = compare(table, rows.schema)
    conflicts = conflicts or inexact(rows, evolution.schema)
    if conflicts:
        row = first_misfit(rows, conflicts[0])
        raise _refused(conflicts[0], where=f"{where}, {origin(rows, row)}")
    return conform(rows, evolution.schema)


def evolve(table: pl.Schema, batch: pl.Schema, *, where: str) -> Evolution:
    """The table's schema after this batch.

    Accepts the same types, missing fields, parts whose type the batch does not know, and integers for a
    Float64 field (``conform`` looks at their values). Adds new fields, nested ones too. Raises SchemaRefused
    for anything else.
    """
    evolution, conflicts = compare(table, batch)
    if conflicts:
        raise _refused(conflicts[0], where=where)
    return evolution


def compare(table: pl.Schema, batch: pl.Schema) -> tuple[Evolution, tuple[Conflict, ...]]:
    """``evolve`` without raising. The evolution is of use only if there is no conflict."""
    merge = _Merge([], [])
    merged = merge.structs((), pl.Struct(dict(table)), pl.Struct(dict(batch)), new=False)
    if not merge.conflicts:
        merge.find_unsettled((), merged)
    schema = pl.Schema({each.name: each.dtype for each in merged.fields})
    return Evolution(schema, tuple(map(path_text, merge.added))), tuple(merge.conflicts)


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The same rows with the columns, fields and types of ``schema``, in its order.

    Missing columns and fields become null; nulls stay null, empty lists empty, structs without fields
    non-null. Raises SchemaRefused if a column would have to be dropped or a value changed.
    """
    where = "conforming a batch to its table"
    evolution, conflicts = compare(schema, frame.schema)
    conflicts = conflicts or inexact(frame, schema)
    if conflicts:
        raise _refused(conflicts[0], where=where)
    if evolution.added:
        remedy = "evolve the table's schema with this batch first; nothing was written"
        raise SchemaRefused(f"the table has no {', '.join(evolution.added)}", where=where, remedy=remedy)
    return pl.DataFrame([widen(frame, name, dtype) for name, dtype in schema.items()])


def inexact(frame: pl.DataFrame, schema: pl.Schema) -> tuple[Conflict, ...]:
    """The Float64 fields of ``schema`` for which ``frame`` has integers that a double might not hold."""
    found = frame.schema
    shared = [name for name in found if name in schema and found[name] != schema[name]]
    paths = (path for name in shared for path in _converted((name,), found[name], schema[name]))
    return tuple(
        Conflict(
            path,
            f"an integer beyond ±(2^53 - 1) would be rounded in the Float64 field {path_text(path)}",
            "keep the field to one numeric type in the source, or rename the new field there",
            (_unsafe,),
        )
        for path in paths
        if _unsafe(values_at(frame, path))
    )


def first_offender(rows: int, fits: Callable[[int], bool]) -> int:
    """Index of the row that spoils the batch, given that all ``rows`` together do not fit.

    ``fits(n)`` says whether the first n rows fit together; it is asked about log2(rows) times.
    """
    return bisect_left(range(1, rows), True, key=lambda count: not fits(count))


def first_misfit(frame: pl.DataFrame, conflict: Conflict) -> int:
    """Index of the first row that carries a value ``conflict`` is about (0 if only the type is at fault)."""
    values = values_at(frame, conflict.path)
    sign = next((each for each in conflict.signs if each(values)), None)
    if sign is None:
        return 0
    return first_offender(len(frame), lambda count: not sign(values_at(frame.head(count), conflict.path)))


def values_at(frame: pl.DataFrame, path: Path) -> pl.Series:
    """All values at a path, lists flattened (an empty list counts as one null)."""
    values = pl.Series() if path[0] is None else frame[path[0]]
    for step in path[1:]:
        values = values.explode() if step is None else values.struct.field(step)
    return values


def origin(frame: pl.DataFrame, row: int) -> str:
    """Topic, partition and offset of a row, or its index in a frame without them."""
    if frame.is_empty() or not {TOPIC, PARTITION, OFFSET} <= set(frame.columns):
        return f"row {row}"
    topic, partition, offset = frame.select(TOPIC, PARTITION, OFFSET).row(row)
    return f"topic {topic}, partition {partition}, offset {offset}"


def path_text(path: Path) -> str:
    steps = ("[]" if step is None else f".{_quoted(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def _quoted(name: str) -> str:
    return f"`{name}`" if not name or set(name) & set(".[]`") else name


def _refused(conflict: Conflict, *, where: str) -> SchemaRefused:
    return SchemaRefused(conflict.what, where=where, remedy=conflict.remedy)


@dataclass(frozen=True, slots=True)
class _Merge:
    """Walks two types side by side and collects what the second adds and where it does not fit."""

    added: list[Path]
    conflicts: list[Conflict]

    def types(self, path: Path, have: pl.DataType, batch: pl.DataType, *, new: bool) -> pl.DataType:
        if have == batch or batch == pl.Null():
            return have
        if have != pl.Null() and (is_wrapper(have) or is_wrapper(batch)):
            self.conflicts.append(_mistyped(path, have, batch))
            return have
        if is_wrapper(batch):
            return batch
        match have, batch:
            case (pl.Struct() | pl.Null(), pl.Struct()):
                known = have if isinstance(have, pl.Struct) else pl.Struct({})
                return self.structs(path, known, batch, new=new)
            case (pl.List() | pl.Null(), pl.List()):
                items = instance(have.inner) if isinstance(have, pl.List) else pl.Null()
                return pl.List(self.types((*path, None), items, instance(batch.inner), new=new))
            case (pl.Null(), _):
                return batch
            case (pl.Float64(), pl.Int64()):
                return have
        self.conflicts.append(_mistyped(path, have, batch))
        return have

    def structs(self, path: Path, have: pl.Struct, batch: pl.Struct, *, new: bool) -> pl.Struct:
        """``new``: the struct itself is already counted as added, so what is in it is not."""
        merged = {each.name: instance(each.dtype) for each in have.fields}
        spelled = {name.lower(): name for name in merged}
        for each in batch.fields:
            inner, dtype = (*path, each.name), instance(each.dtype)
            known = spelled.setdefault(each.name.lower(), each.name)
            if known != each.name:
                self.conflicts.append(_case_differs(inner, (*path, known)))
            elif known in merged:
                merged[known] = self.types(inner, merged[known], dtype, new=new)
            else:
                merged[known] = self.types(inner, pl.Null(), dtype, new=True)
                self.added.extend([] if new else [inner])
        return pl.Struct(merged)

    def find_unsettled(self, path: Path, dtype: pl.DataType) -> None:
        match dtype:
            case pl.Null():
                self.conflicts.append(_unknown(path, "null"))
            case pl.Struct() if path and not dtype.fields:
                self.conflicts.append(_unknown(path, "{}"))
            case pl.Struct() if not is_wrapper(dtype):
                for each in dtype.fields:
                    self.find_unsettled((*path, each.name), instance(each.dtype))
            case pl.List() if instance(dtype.inner) == pl.Null():
                self.conflicts.append(_unknown(path, "[]"))
            case pl.List():
                self.find_unsettled((*path, None), instance(dtype.inner))


def _mistyped(path: Path, have: pl.DataType, batch: pl.DataType) -> Conflict:
    return Conflict(
        path,
        f"{path_text(path)} is {named(have)} in the table and {named(batch)} in this batch",
        "keep the field to one type in the source, or rename the new field there; a table keeps its types, "
        "so to take over the new type: cdc rebuild TABLE --from source",
        (_fractional, _present),
    )


def _case_differs(path: Path, known: Path) -> Conflict:
    return Conflict(
        path,
        f"{path_text(path)} and {path_text(known)} differ only in case, which the lake's engines ignore",
        "rename one of the two fields in the source",
        by_name=True,
    )


def _unknown(path: Path, seen: str) -> Conflict:
    return Conflict(
        path,
        f"the type of {path_text(path)} is unknown: table and batch have no more of it than {seen}",
        "write one document that has a value in it, or remove the empty one in the source and take a new "
        "snapshot",
    )


def _converted(path: Path, batch: pl.DataType, table: pl.DataType) -> Iterator[Path]:
    match batch, table:
        case (pl.Int64(), pl.Float64()):
            yield path
        case (pl.List(), pl.List()):
            yield from _converted((*path, None), instance(batch.inner), instance(table.inner))
        case (pl.Struct(), pl.Struct()):
            fields = {each.name: instance(each.dtype) for each in table.fields}
            for each in batch.fields:
                if each.name in fields:
                    yield from _converted((*path, each.name), instance(each.dtype), fields[each.name])
