"""Which values fit their field: decided value by value, for the few fields where a whole batch does not fit.

Invariants
- A value fits if its type, alone, goes into the field's type without a conflict (``core.schema``); a type
  that is not known yet is that of most of the batch's values.
- The parser that reads the columns is asked for a value's type, so there is no second notion of types. It is
  asked once per *form*, a text that is the same only for values of the same type.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import polars as pl

from cdc_platform.core.logical import Path, instance, is_wrapper
from cdc_platform.core.schema import SAFE_INTEGER, compare, inexact
from cdc_platform.decode.columnar import Columns, read_columns
from cdc_platform.decode.depth import COLUMN_LEVELS, levels

_V: Final = "v"
_UUID: Final = re.compile("[A-Za-z0-9+/]{22}==")
_MAX_MILLIS: Final = (2**63 - 1) // 1000
_PLAIN: Final[Mapping[type, str]] = {type(None): "n", bool: "b", float: "f", str: "s"}


def type_at(table: pl.Schema, path: Path) -> pl.DataType:
    """The type of a field in a table, Null if the table does not have it."""
    dtype: pl.DataType = pl.Struct(dict(table))
    for step in path:
        if step is None:
            dtype = instance(dtype.inner) if isinstance(dtype, pl.List) else pl.Null()
        elif isinstance(dtype, pl.Struct) and not is_wrapper(dtype):
            inner = {each.name: instance(each.dtype) for each in dtype.fields}
            dtype = inner.get(step, pl.Null())
        else:
            return pl.Null()
    return dtype


class Field:
    """One field: its type so far, which grows with what fits.

    ``values``: all of the batch, without nulls. ``level``: how deep in the documents the field is, from 1.
    """

    def __init__(self, known: pl.DataType, values: Iterable[Any], level: int = 1) -> None:
        self._level = level
        self._types: dict[str, pl.DataType | str] = {}
        self._fits: dict[str, str | None] = {}
        self._type = known if known != pl.Null() else self._most_frequent(values)

    def misfit(self, value: Any) -> str | None:
        """Why a value does not fit, None if it does."""
        form = form_of(value)
        if form not in self._fits:
            before = self._type
            reason = self._tried(form, value)
            if self._type != before:
                self._fits.clear()
            self._fits[form] = reason
        return self._fits[form]

    def _tried(self, form: str, value: Any) -> str | None:
        dtype = self._type_of(form, value)
        if isinstance(dtype, str):
            return dtype
        table, batch = pl.Schema({_V: self._type}), pl.Schema({_V: dtype})
        evolution, conflicts = compare(table, batch)
        if not conflicts and "I" in form:
            found = read_columns(_alone(value))
            assert isinstance(found, Columns)
            conflicts = inexact(found.frame, evolution.schema)
        if conflicts:
            return conflicts[0].what.replace(f"{_V} is ", "the field is ", 1)
        self._type = evolution.schema[_V]
        return None

    def _type_of(self, form: str, value: Any) -> pl.DataType | str:
        """Of a value's form, or why it has none."""
        if form not in self._types:
            found = read_columns(_alone(value))
            self._types[form] = (
                self._not_too_deep(found.frame.schema.get(_V, pl.Null()))
                if isinstance(found, Columns)
                else found.reason
            )
        return self._types[form]

    def _not_too_deep(self, dtype: pl.DataType) -> pl.DataType | str:
        deepest = self._level - 1 + levels(dtype)
        if deepest <= COLUMN_LEVELS:
            return dtype
        return f"it nests down to level {deepest}, columns go to level {COLUMN_LEVELS}"

    def _most_frequent(self, values: Iterable[Any]) -> pl.DataType:
        examples: dict[str, Any] = {}
        counts: Counter[str] = Counter()
        for value in values:
            form = form_of(value)
            examples.setdefault(form, value)
            counts[form] += 1
        if counts["f"] and not counts["I"]:
            counts["f"] += counts.pop("i", 0)
        kinds: Counter[str] = Counter()
        for form, count in counts.items():
            kinds[_kind(form)] += count
        for form in sorted(counts, key=lambda form: (-kinds[_kind(form)], -counts[form])):
            dtype = self._type_of(form, examples[form]) if form in examples else pl.Null()
            if not isinstance(dtype, str) and not compare(pl.Schema(), pl.Schema({_V: dtype}))[1]:
                return dtype
        return pl.Null()


def _kind(form: str) -> str:
    """One for all lists and one for all documents: no two of them need have the same fields."""
    return form[0] if form[0] in "[{" and not form.startswith("{'$") else form


def form_of(value: Any) -> str:
    """A text that two values share only if they have the same type, nulls and empty parts included."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "i" if abs(value) <= SAFE_INTEGER else "I" if -(2**63) <= value < 2**63 else "X"
    if plain := _PLAIN.get(type(value)):
        return plain
    match value:
        case list():
            return f"[{''.join(sorted({form_of(each) for each in value}))}]"
        case {"$numberLong": str(digits)} if len(value) == 1:
            return form_of(int(digits))
        case {"$date": millis} if len(value) == 1:
            known = isinstance(millis, int) and abs(millis) <= _MAX_MILLIS
            return "D" if known else "d"
        case {"$binary": str(data), "$type": str(kind)} if len(value) == 2:
            return f"B{kind}" if kind != "04" or _UUID.fullmatch(data) else "U"
    return "{" + "".join(f"{name!r}{form_of(each)}" for name, each in sorted(value.items())) + "}"


def _alone(value: Any) -> pl.Series:
    return pl.Series([json.dumps({_V: value})], dtype=pl.String)
