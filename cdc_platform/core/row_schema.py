"""The columns of a source's table as its events tell them, and which change of them a policy allows. Pure.

Invariant: what is compared is the source's schema, not the lake's: the lake's columns are wide on purpose,
so a change that a policy forbids may fit them all the same.

The policies are the schema registry's. Backward: who knows the new schema can read what was written with the
old one (columns may go; new ones need a default, or may be null; types only widen). Forward: who knows the
old schema can read what is written with the new one (columns may come; those that go must have had a default,
or could be null; types only narrow). Full: both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict


class Compatibility(StrEnum):
    """Which changes of a table's schema are taken."""

    NONE = "none"
    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"


class Column(BaseModel):
    """``type``: as ``int32``, ``decimal(10,2)``, ``array<string>``. ``optional``: may be null. ``default``:
    has one."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    optional: bool = True
    default: bool = False

    @property
    def may_be_missing(self) -> bool:
        return self.optional or self.default

    def __str__(self) -> str:
        return f"{self.name} {self.type}{'' if self.optional else ' not null'}"


class RowSchema(BaseModel):
    """``key``: names of the key's columns, in its order; empty without a key."""

    model_config = ConfigDict(frozen=True)

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hex digits; the same for the same columns in any order."""
        ordered = sorted(self.columns, key=lambda each: each.name)
        text = orjson.dumps([[each.model_dump() for each in ordered], self.key])
        return hashlib.sha256(text).hexdigest()[:16]


def changes(old: RowSchema, new: RowSchema) -> tuple[str, ...]:
    """What became of the columns, in words, for people."""
    before, after = _by_name(old), _by_name(new)
    found = [f"added {each}" for name, each in after.items() if name not in before]
    found += [f"dropped {each}" for name, each in before.items() if name not in after]
    found += [
        f"{name}: {before[name].type} became {each.type}"
        for name, each in after.items()
        if name in before and before[name].type != each.type
    ]
    found += [
        f"{name}: {'may be null' if each.optional else 'not null'} now"
        for name, each in after.items()
        if name in before and before[name].optional != each.optional
    ]
    return (*found, *_other_key(old, new))


def violations(old: RowSchema, new: RowSchema, policy: Compatibility) -> tuple[str, ...]:
    """Why the policy does not allow the change, in words; empty if it does. Another key is never allowed: the
    rows of the lake are found by it."""
    found = [*_other_key(old, new)]
    if policy in (Compatibility.BACKWARD, Compatibility.FULL):
        found += _unreadable(old, new, "is new, not null and has no default")
    if policy in (Compatibility.FORWARD, Compatibility.FULL):
        found += _unreadable(new, old, "is gone, was not null and had no default")
    return tuple(dict.fromkeys(found))


def _other_key(old: RowSchema, new: RowSchema) -> Iterator[str]:
    if old.key != new.key:
        yield f"the key was ({', '.join(old.key)}) and is ({', '.join(new.key)})"


def _unreadable(written: RowSchema, reader: RowSchema, missing: str) -> Iterator[str]:
    """What hinders who knows ``reader`` from reading what was written with ``written``."""
    there = _by_name(written)
    for column in reader.columns:
        found = there.get(column.name)
        if found is None:
            if not column.may_be_missing:
                yield f"{column.name} {missing}"
        elif not promotes(found.type, column.type):
            yield f"{column.name} is {found.type} in one and {column.type} in the other"
        elif found.optional and not column.optional:
            yield f"{column.name} may be null in one and not in the other"


_WIDTHS: Final = ("int8", "int16", "int32", "int64", "float", "double")
_DECIMAL: Final = "decimal("


def promotes(narrow: str, wide: str) -> bool:
    """Whether every value of the first type is one of the second, as Avro's promotions go."""
    if narrow == wide:
        return True
    if narrow in _WIDTHS and wide in _WIDTHS:
        return _WIDTHS.index(narrow) < _WIDTHS.index(wide)
    if narrow.startswith(_DECIMAL) and wide.startswith(_DECIMAL):
        (digits, scale), (more, same) = _decimal(narrow), _decimal(wide)
        return scale == same and digits <= more
    return False


def _decimal(text: str) -> tuple[int, int]:
    digits, _, scale = text.removeprefix(_DECIMAL).rstrip(")").partition(",")
    return int(digits), int(scale)


def _by_name(schema: RowSchema) -> dict[str, Column]:
    return {each.name: each for each in schema.columns}
