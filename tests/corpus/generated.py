"""Documents of any BSON shape, and what happens to them: made by hypothesis, to be written to a real MongoDB.

Left out is what Debezium itself prints ambiguously (``docs/types.md``): documents that look like extended
JSON, names twice in a document, texts that are not UTF-8.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import hypothesis
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.corpus.raw import Raw, text
from tests.corpus.values import DATES, DECIMALS, NUMBERS

Values = st.SearchStrategy[Any]

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1).map(Int64)
EXACT_LONGS = st.integers(-(2**53), 2**53).map(Int64)
DOUBLES = st.floats(width=64, allow_nan=True)
NUMBER = st.one_of(INTS, LONGS, EXACT_LONGS, DOUBLES, st.sampled_from(list(NUMBERS.values())))
DECIMAL = st.one_of(
    st.sampled_from(list(DECIMALS.values())),
    st.tuples(st.integers(-(10**34) + 1, 10**34 - 1), st.integers(-6176, 6111)).map(
        lambda parts: Decimal128(f"{parts[0]}E{parts[1]}")
    ),
)
OBJECT_IDS = st.binary(min_size=12, max_size=12).map(ObjectId)
DATE = st.one_of(
    st.integers(-62_135_596_800_000, 253_402_300_799_999).map(DatetimeMS),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
    st.sampled_from(list(DATES.values())),
)
UUIDS = st.uuids().map(Binary.from_uuid)
BINARIES = st.binary(max_size=5).map(Binary)
OTHER_BINARIES = st.builds(
    Binary,
    st.binary(max_size=20),
    st.one_of(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8]), st.integers(128, 255)),
)
UINT32 = st.integers(0, 2**32 - 1)
TIMESTAMPS = st.builds(Timestamp, UINT32, UINT32)
CSTRING = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
REGEXES = st.builds(
    Regex, CSTRING, st.sets(st.sampled_from("imsx")).map(lambda flags: "".join(sorted(flags)))
)
RARE = st.one_of(
    OTHER_BINARIES,
    TIMESTAMPS,
    REGEXES,
    TEXT.map(Code),
    st.builds(Code, TEXT, st.dictionaries(st.sampled_from("xyz"), INTS, max_size=2)),
    st.just(MinKey()),
    st.just(MaxKey()),
    st.builds(DBRef, TEXT, st.one_of(INTS, OBJECT_IDS, TEXT), st.one_of(st.none(), TEXT)),
    TEXT.map(lambda value: Raw(14, text(value.encode()))),
    st.just(Raw(6)),
    OBJECT_IDS.map(lambda oid: Raw(12, text(b"db.other") + oid.binary)),
)
LEAVES = (NUMBER, INTS, DOUBLES, TEXT, st.booleans(), OBJECT_IDS, DECIMAL, DATE, UUIDS, BINARIES, RARE)

ODD_NAMES = (
    *("a", "b", "c", "A", "aB", "x__json", "a__json", "_others", "_key", "_KEY", "_kafka_offset", "", " "),
    *("a.b", "$a", "a/b", "/", "[]", "a`b", "'", '"', "\\", "ü", "Ü", "😀", "\n", "_change_type", "1", "%20"),
)
NAMES = st.one_of(st.sampled_from("abcd"), st.sampled_from(ODD_NAMES), CSTRING).filter(
    lambda name: not name.startswith("$") or name == "$a"
)

ANYTHING: Values = st.recursive(
    st.one_of(st.none(), *LEAVES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


def lists(items: Values) -> Values:
    return st.lists(st.one_of(items, items, items, st.none()), max_size=3)


def documents(fields: dict[str, Values]) -> Values:
    return st.fixed_dictionaries({}, optional=fields)


SHAPES: st.SearchStrategy[Values] = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lists), st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(documents)
    ),
    max_leaves=6,
)
"""How the values of one field look, as in most collections: what is in them varies, not what they are."""

KEYS: Values = st.one_of(
    *(INTS, TEXT, OBJECT_IDS, UUIDS, DATE, DOUBLES, DECIMAL, LONGS, TIMESTAMPS),
    st.dictionaries(st.sampled_from(string.ascii_lowercase), st.one_of(INTS, TEXT), max_size=2),
)


@dataclass(frozen=True, slots=True)
class Write:
    """``fields`` put in the place of the ``key``-th document, or set in it; None removes the document."""

    key: int
    fields: dict[str, Any] | None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """Writes to one collection, in rounds. ``keys``: the documents' ``_id``."""

    keys: list[Any]
    rounds: list[list[Write]]

    @property
    def outdated(self) -> bool:
        """Whether it writes types that pymongo does not tell from others, so that no proof can."""
        return any(_outdated(write.fields) for writes in self.rounds for write in writes)


def _outdated(value: Any) -> bool:
    match value:
        case dict():
            return any(map(_outdated, value.values()))
        case list():
            return any(map(_outdated, value))
    return isinstance(value, Raw) and value.kind in _OUTDATED


_OUTDATED = {6, 14}
"""Undefined, and symbols."""


def _identity(key: Any) -> Any:
    """The same for keys that are equal to MongoDB, whatever their types."""
    number = key.to_decimal() if isinstance(key, Decimal128) else key
    if not isinstance(number, int | float | Decimal):
        return repr(key)
    exact = Decimal(number)
    return "NaN" if exact.is_nan() else exact


@st.composite
def programs(draw: st.DrawFn) -> Program:
    shapes = draw(st.dictionaries(NAMES, SHAPES, min_size=1, max_size=4))
    shaped = documents(shapes)
    changed = st.dictionaries(st.one_of(st.sampled_from(sorted(shapes)), NAMES), ANYTHING, max_size=3)
    fields = st.one_of(shaped, shaped, st.builds(lambda a, b: a | b, shaped, changed), changed)
    keys = draw(st.lists(KEYS, min_size=5, max_size=5, unique_by=_identity))
    numbers = st.integers(0, len(keys) - 1)
    write = st.one_of(
        st.builds(Write, numbers, fields),
        st.builds(Write, numbers, fields),
        st.builds(Write, numbers, fields, st.just(False)),
        st.builds(Write, numbers, st.none()),
    )
    return Program(keys, draw(st.lists(st.lists(write, min_size=2, max_size=8), min_size=2, max_size=3)))


def generated(seed: int, count: int) -> list[Program]:
    """The same programs for the same seed."""
    found: list[Program] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(programs())
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return found
