"""One canonical form for values and rows, and digests over it: equal text means equal rows.

Both sides of a proof are encoded here, the source's values by an ``encoder`` and the lake's columns by
``encode_columns``. The two give the same text for the same value; a test holds them to it. If they did not,
every proof would be worthless in one direction or the other. Fields held as text (``Unfold``) are fields.

The form equates what a column store cannot tell apart, and nothing else
- a field that is null and a field that is missing, at every level of nesting;
- numbers of exactly equal value, whatever their type and scale: 5 and 5.0, 1.50 and 1.5 (a column has
  one type for all its rows);
- documents with the same fields in another order;
- all NaNs.

Everything else stays apart: -0.0 and 0 (a double column keeps the sign), 2**53 + 1 and its nearest double,
true and 1, 1 and "1", an empty list and null, an empty document and null, a null inside a list and its
absence, bytes and text, a time in UTC and a time without a zone, a day and its midnight, 0.1 as a decimal and
the double next to it. Times are whole microseconds since 1970.

A value of a type that is not named here is refused: a guess could make two values equal that are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import islice
from typing import Any, Final
from zlib import crc32

import polars as pl
from polars._typing import PolarsDataType

from cdc_platform.core.scalars import SCALARS, Encoder, leaf, text, without_form

BUCKETS: Final = 256
MODULUS: Final = 1 << 128

Cells = list[str | None]
Adapters = Mapping[type, Callable[[Any], Any]]
"""Type → function that turns a value of exactly this type into one that the canonical form knows."""

Fields = Mapping[str, str]
"""Name of a field → canonical text of its value."""

Reader = Callable[[str], Fields]
Unfold = Callable[[str], Reader | None]
"""Name of a text column → how to read the fields that a text of it stands for; None: only for itself."""


def encoder(adapt: Adapters | None = None) -> Encoder:
    """Makes the function from one value to its canonical text.

    ``adapt`` makes other types plain on the way, and goes before the form's own types. The function raises
    SchemaRefused for a type that neither knows.
    """
    by_type = _ByType(SCALARS)

    def document(value: Mapping[str, Any]) -> str:
        return _braced(
            [_head(name) + by_type[type(v)](v) for name, v in sorted(value.items()) if v is not None]
        )

    def adapted(plain: Callable[[Any], Any], value: Any) -> str:
        value = plain(value)
        return by_type[type(value)](value)

    by_type[dict] = document
    by_type[list] = lambda values: f"[{','.join([by_type[type(v)](v) for v in values])}]"
    by_type |= {kind: partial(adapted, plain) for kind, plain in (adapt or {}).items()}
    return lambda value: by_type[type(value)](value)


def encode_columns(columns: Sequence[pl.Series], unfold: Unfold = lambda _: None) -> list[str]:
    """Canonical text of each row, the columns' names being the document's fields; at least one column.

    Works through columns, nested ones too, one leaf at a time. ``unfold``: which text columns hold other
    fields, in documents of every level. A field that is there both ways is written twice, so that its row
    equals no other. Raises SchemaRefused for a type without a canonical form.
    """
    return _joined([c.to_physical() for c in columns], [c.dtype for c in columns], unfold)


def row_digest(key: str, canonical: str) -> int:
    """128 bits of blake2b over the key's text and the row's canonical text."""
    return int.from_bytes(blake2b((text(key) + canonical).encode(), digest_size=16).digest())


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
        self._count(rows, 1)

    def remove(self, rows: Iterable[tuple[str, int]]) -> None:
        """The opposite of ``add``; counts go below zero for rows that were not there."""
        self._count(rows, -1)

    def _count(self, rows: Iterable[tuple[str, int]], sign: int) -> None:
        counts, sums = self.counts, self.sums
        for key, digest in rows:
            bucket = crc32(key.encode()) & (BUCKETS - 1)
            counts[bucket] += sign
            sums[bucket] = (sums[bucket] + sign * digest) % MODULUS

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


class _ByType(dict[type, Encoder]):
    def __missing__(self, kind: type) -> Encoder:
        raise without_form(f"value of type {kind.__name__}")


def _braced(fields: list[str]) -> str:
    return "{" + ",".join(fields) + "}"


@lru_cache(maxsize=4096)
def _head(name: str) -> str:
    return text(name) + ":"


def _joined(columns: Sequence[pl.Series], dtypes: Sequence[pl.DataType], unfold: Unfold) -> list[str]:
    """Rows from their fields' columns: physical ones (times as integers), with ``dtypes`` as they were."""
    fields = sorted(zip(columns, dtypes, strict=True), key=lambda field: field[0].name)
    folded = [
        (column, read) for column, dtype in fields if dtype == pl.String and (read := unfold(column.name))
    ]
    names = {column.name for column, _ in folded}
    plain = [(column, dtype) for column, dtype in fields if column.name not in names]
    cells = [_headed(_head(column.name), _cells(column, dtype, unfold)) for column, dtype in plain]
    across = zip(*cells, strict=True) if cells else [()] * len(columns[0])
    rows = [[cell for cell in row if cell is not None] for row in across]
    for row, extra in _unfolded(folded).items():
        whole = [(column.name, cell[row]) for (column, _), cell in zip(plain, cells, strict=True)] + extra
        rows[row] = [cell for _, cell in sorted((name, cell) for name, cell in whole if cell is not None)]
    return [_braced(row) for row in rows]


def _unfolded(folded: Iterable[tuple[pl.Series, Reader]]) -> dict[int, list[tuple[str, str | None]]]:
    """Row → the headed fields that its texts stand for."""
    found: dict[int, list[tuple[str, str | None]]] = {}
    for column, read in folded:
        for row in column.is_not_null().arg_true():
            fields = read(column[row]).items()
            found.setdefault(row, []).extend((name, _head(name) + cell) for name, cell in fields)
    return found


def _headed(head: str, cells: Cells) -> Cells:
    return [None if cell is None else head + cell for cell in cells]


def _cells(column: pl.Series, dtype: pl.DataType, unfold: Unfold) -> Cells:
    """Canonical text of each value of a physical column, None for null."""
    match dtype:
        case pl.Struct():
            return _struct_cells(column, dtype, unfold)
        case pl.List():
            return _list_cells(column, _instance(dtype.inner), unfold)
    encode = leaf(dtype)
    return [None if value is None else encode(value) for value in column.to_list()]


def _struct_cells(column: pl.Series, dtype: pl.Struct, unfold: Unfold) -> Cells:
    if not dtype.fields:
        return [None if null else "{}" for null in column.is_null()]
    children = [column.struct.field(field.name) for field in dtype.fields]
    rows = _joined(children, [_instance(field.dtype) for field in dtype.fields], unfold)
    return [None if null else row for null, row in zip(column.is_null(), rows, strict=True)]


def _list_cells(column: pl.Series, inner: pl.DataType, unfold: Unfold) -> Cells:
    lengths = column.list.len().to_list()
    filled = column.filter(column.list.len() > 0)
    items = iter(["n" if cell is None else cell for cell in _cells(filled.explode(), inner, unfold)])
    return [None if n is None else f"[{','.join(islice(items, n))}]" for n in lengths]


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()
