"""One canonical form for values and rows, and digests over it: equal bytes mean equal rows.

Both sides of a proof are encoded here, the source's values through ``encode`` and the lake's columns through
``encode_columns``. The two give the same bytes for the same value; a test holds them to it. If they did not,
every proof would be worthless in one direction or the other.

The form equates what a column store cannot tell apart, and nothing else
- a field that is null and a field that is missing, at every level of nesting;
- numbers of exactly equal value, whatever their type: 5 and 5.0 (a column has one type for all its rows);
- documents with the same fields in another order;
- all NaNs.

Everything else stays apart: -0.0 and 0 (a double column keeps the sign), 2**53 + 1 and its nearest double,
true and 1, 1 and "1", an empty list and null, an empty document and null, a null inside a list and its
absence, bytes and text, a time in UTC and a time without a zone. Times are whole microseconds since 1970.

A value of a type that is not named here is refused: a guess could make two values equal that are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

import orjson
import polars as pl
from polars._typing import PolarsDataType

from cdc_platform.core.errors import SchemaRefused

BUCKETS: Final = 256
MODULUS: Final = 1 << 128

_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)

Encoder = Callable[[Any], bytes]
Adapters = Mapping[type, Callable[[Any], Any]]
"""Type → function that turns a value of exactly this type into one that the canonical form knows."""

_NONE: Final[Adapters] = {}


class Moment(int):
    """Microseconds since 1970 in UTC; for times that ``datetime`` cannot hold (years before 1 or after
    9999)."""


def encode(value: Any, adapt: Adapters = _NONE) -> bytes:
    """Canonical bytes of one value. ``adapt`` makes other types plain on the way, and goes before our own.

    Raises SchemaRefused for a type that neither the canonical form nor ``adapt`` knows.
    """
    if value is None:
        return b"n"
    kind = type(value)
    if kind is dict:
        return _document({name: encode(v, adapt) for name, v in value.items() if v is not None})
    if kind is list:
        return b"[" + b",".join([encode(v, adapt) for v in value]) + b"]"
    if (adapter := adapt.get(kind)) is not None:
        return encode(adapter(value), adapt)
    if (encoder := _SCALARS.get(kind)) is not None:
        return encoder(value)
    raise SchemaRefused(
        f"a value of type {kind.__name__} has no canonical form",
        remedy="teach the canonical form this type, with a test of what it is equal to",
    )


def encode_columns(columns: Sequence[pl.Series]) -> list[bytes]:
    """Canonical bytes of each row, the columns' names being the document's fields; at least one column.

    The encoder follows the columns' types, so times outside ``datetime``'s range work, and types are looked
    at once a column. Raises SchemaRefused for a type without a canonical form.
    """
    ordered = sorted(columns, key=lambda column: column.name)
    return [
        _braced([cell for cell in row if cell is not None])
        for row in zip(*(_cells(column) for column in ordered), strict=True)
    ]


def _cells(column: pl.Series) -> list[bytes | None]:
    """``"name":value`` of each row, None for null."""
    head, encoder = _text(column.name) + b":", _encoder_of(column.dtype)
    return [None if value is None else head + encoder(value) for value in column.to_physical().to_list()]


def row_digest(key: str, canonical: bytes) -> int:
    """128 bits of blake2b over the key's text and the row's canonical bytes."""
    return int.from_bytes(blake2b(orjson.dumps(key) + canonical, digest_size=16).digest())


def bucket_of(key: str) -> int:
    """Bucket of a key's text, the same on both sides: 0 to 255."""
    return crc32(key.encode()) & (BUCKETS - 1)


@dataclass(slots=True)
class BucketDigest:
    """Rows in any order, as a count and a sum of row digests (mod 2**128) for each of 256 buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sums: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, rows: Iterable[tuple[str, int]]) -> None:
        """``rows``: key text and row digest."""
        counts, sums = self.counts, self.sums
        for key, digest in rows:
            bucket = crc32(key.encode()) & (BUCKETS - 1)
            counts[bucket] += 1
            sums[bucket] = (sums[bucket] + digest) % MODULUS

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def differing(self, other: BucketDigest) -> frozenset[int]:
        """Buckets whose count or sum is not the same."""
        return frozenset(
            bucket
            for bucket in range(BUCKETS)
            if (self.counts[bucket], self.sums[bucket]) != (other.counts[bucket], other.sums[bucket])
        )

    def hexdigest(self) -> str:
        """32 hex digits over all buckets; equal when no bucket differs."""
        whole = blake2b(digest_size=16)
        for count, total in zip(self.counts, self.sums, strict=True):
            whole.update(b"%d:%d;" % (count, total))
        return whole.hexdigest()


def _document(fields: Mapping[str, bytes]) -> bytes:
    return _braced([_text(name) + b":" + fields[name] for name in sorted(fields)])


def _braced(fields: list[bytes]) -> bytes:
    return b"{" + b",".join(fields) + b"}"


def _text(value: str) -> bytes:
    return orjson.dumps(value)


def _boolean(value: bool) -> bytes:
    return b"T" if value else b"F"


def _integer(value: int) -> bytes:
    return b"i%d" % value


def _real(value: float) -> bytes:
    if value.is_integer() and (value or math.copysign(1.0, value) > 0):
        return b"i%d" % int(value)
    return b"f" + repr(value).encode()


def _binary(value: bytes) -> bytes:
    return b"b" + value.hex().encode()


def _moment(value: int) -> bytes:
    return b"t%d" % value


def _datetime(value: datetime) -> bytes:
    if value.tzinfo is None:
        return b"w%d" % ((value - _EPOCH) // _MICROSECOND)
    return b"t%d" % ((value.astimezone(UTC).replace(tzinfo=None) - _EPOCH) // _MICROSECOND)


_SCALARS: Final[Mapping[type, Encoder]] = {
    str: _text,
    int: _integer,
    float: _real,
    bool: _boolean,
    bytes: _binary,
    datetime: _datetime,
    Moment: _moment,
}


def _encoder_of(dtype: pl.DataType) -> Encoder:
    """Encoder of a column's non-null physical values (times as integers)."""
    if dtype.is_integer():
        return _integer
    if dtype.is_float():
        return _real
    match dtype:
        case pl.Datetime():
            return _time_encoder(dtype)
        case pl.List():
            return _list_encoder(_encoder_of(_instance(dtype.inner)))
        case pl.Struct():
            return _struct_encoder({f.name: _encoder_of(_instance(f.dtype)) for f in dtype.fields})
    if (encoder := _SIMPLE_COLUMNS.get(type(dtype))) is not None:
        return encoder
    raise SchemaRefused(
        f"a column of type {dtype} has no canonical form",
        remedy="teach the canonical form this type, with a test of what it is equal to",
    )


_SIMPLE_COLUMNS: Final[Mapping[type[pl.DataType], Encoder]] = {
    pl.Null: encode,
    pl.String: _text,
    pl.Boolean: _boolean,
    pl.Binary: _binary,
}


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _time_encoder(dtype: pl.Datetime) -> Encoder:
    tag = b"t%d" if dtype.time_zone else b"w%d"
    match dtype.time_unit:
        case "us":
            return lambda value: tag % value
        case "ms":
            return lambda value: tag % (value * 1000)
    raise SchemaRefused(
        f"a column of type {dtype} has no canonical form: times are whole microseconds",
        remedy="store times in microseconds",
    )


def _list_encoder(inner: Encoder) -> Encoder:
    return lambda values: b"[" + b",".join([b"n" if v is None else inner(v) for v in values]) + b"]"


def _struct_encoder(fields: Mapping[str, Encoder]) -> Encoder:
    plan = [(name, _text(name) + b":", fields[name]) for name in sorted(fields)]

    def encoder(value: Mapping[str, Any]) -> bytes:
        return _braced([head + inner(value[n]) for n, head, inner in plan if value[n] is not None])

    return encoder
