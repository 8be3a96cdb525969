"""What the truths of databases with tables share: columns that are read by SQL, and rows from them.

Invariants
- A column's value is made by the database itself as far as SQL can; Python only gives it its type.
- A key's text is the same for the same key, whatever wrote it: see ``key_text``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from cdc_platform.core.digest import bucket_of, encoder, row_digest
from cdc_platform.core.scalars import Day, LocalMoment, Moment
from cdc_platform.verify.calendar import day_text, moment_text
from cdc_platform.verify.shape import Text
from cdc_platform.verify.truth import NotByKey

Read = Callable[[Any], Any]

BATCH_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of a type are read. ``sql``: an expression of ``{}``, the column. ``read``: what the driver
    gives for it, which is never None → the shape that the lake keeps. ``text``: what a text of it in the lake
    is."""

    sql: str
    read: Read
    text: Text = Text.ITSELF


@dataclass(frozen=True, slots=True)
class Column:
    """``quoted``: its name in SQL."""

    name: str
    quoted: str
    kind: Kind

    @property
    def sql(self) -> str:
        return self.kind.sql.replace("{}", self.quoted)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table as digests. ``key``: names of the key's columns, in the key's order."""

    columns: Sequence[Column]
    key: Sequence[str]

    @property
    def select(self) -> str:
        """The list of expressions after SELECT."""
        return ", ".join(column.sql for column in self.columns)

    def documents(self, rows: Iterable[Sequence[Any]]) -> Iterator[dict[str, Any]]:
        """A mapping a row, from what the driver gives for ``select``."""
        reads = [(column.name, column.kind.read) for column in self.columns]
        for row in rows:
            yield {
                name: None if value is None else read(value)
                for (name, read), value in zip(reads, row, strict=True)
            }

    def digests(
        self, rows: Iterable[Sequence[Any]], buckets: Set[int] | None = None
    ) -> Iterator[tuple[str, int]]:
        encode = encoder()
        for document in self.documents(rows):
            key = key_text({name: document[name] for name in self.key})
            if buckets is None or bucket_of(key) in buckets:
                yield key, row_digest(key, encode(document))

    def cells(self, rows: Iterable[Sequence[Any]], keys: Set[str]) -> dict[str, dict[str, str]]:
        """Of the rows with these keys, each column's canonical text."""
        encode = encoder()
        return {
            key: {name: encode({name: value}) for name, value in document.items()}
            for document in self.documents(rows)
            if (key := key_text({name: document[name] for name in self.key})) in keys
        }


def called(rows: Rows, renamed: Mapping[str, str]) -> Rows:
    """The same rows by the names that the lake has for columns that were renamed in the source."""
    columns = [replace(each, name=renamed.get(each.name, each.name)) for each in rows.columns]
    return Rows(columns, [renamed.get(name, name) for name in rows.key])


def key_text(key: Mapping[str, Any]) -> str:
    """An object of the key's columns as compact JSON: ``{"id":1,"sku":"a"}``.

    Integers and booleans as they are; everything else as text: decimals with all digits of their scale, days
    and times in ISO 8601 with microseconds, bytes in hex.
    """
    plain = {name: _in_key(value) for name, value in key.items()}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def parts_of(keys: Iterable[str], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The columns of each key, as its text has them. Raises NotByKey for a text of other columns."""
    found = []
    for key in keys:
        parts = json.loads(key)
        if list(parts) != list(names):
            raise NotByKey(f"a key does not have the columns {', '.join(names)}")
        found.append(tuple(parts.values()))
    return found


def _in_key(value: Any) -> Any:
    match value:
        case Moment():
            return f"{moment_text(value)}Z"
        case LocalMoment():
            return moment_text(value)
        case Day():
            return day_text(value)
        case Decimal():
            return f"{value:f}"
        case float():
            return repr(value)
        case bytes():
            return value.hex()
        case list():
            return [_in_key(each) for each in value]
    return value


def number_or_text(number: Read) -> Read:
    """Reads a whole number from its text; what is none (``infinity``) stays a text."""

    def read(text: str) -> Any:
        try:
            return number(int(text))
        except ValueError:
            return text

    return read


def stripped(text: str) -> bytes:
    """Bits, written from the highest to the lowest, as bytes from the lowest, without zeros at their end."""
    number = int(text or "0", 2)
    return number.to_bytes((number.bit_length() + 7) // 8, "little")
