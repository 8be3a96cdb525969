"""What PostgreSQL itself can tell of a table's rows: those with certain keys, and those changed since.

Invariants
- A row's version is made by one transaction, whose id stands in its ``xmin``, and never changes after that.
  So a version that is seen at a position, made by a transaction older than all that ran at an earlier one,
  was seen there, too: the same row. It rests on no hash. Subtransactions have ids above their parent's.
- An id has 32 bits. Ids less than 2**31 apart compare rightly; a ground that is older is none any more.
- What changes rows without a new version makes another ground: a rewrite or truncation (the table's files), a
  column added or altered (the catalog), labels of enumerations and parts of composite types, a server
  restored from a backup (its timeline) or made anew (its identifier).
- A key is asked for only where its text, cast to the column's type, gives its value exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from psycopg import Connection, errors
from pydantic import BaseModel, ConfigDict, ValidationError

from cdc_platform.verify.position import PostgresSnapshot
from cdc_platform.verify.truth import NotByKey
from cdc_platform.verify.truth.postgresql_catalog import Catalog
from cdc_platform.verify.truth.sql import Rows, parts_of

KEYS_AT_ONCE: Final = 2_000

_CASTS: Final = {
    **{name: name for name in ("int2", "int4", "int8", "text", "varchar", "bpchar", "uuid", "bool", "date")},
    **{name: name for name in ("numeric", "timestamp", "timestamptz")},
}
_DATED: Final = frozenset({"date", "timestamp", "timestamptz"})
_DAY: Final = re.compile(r"(?!0000)\d{4}-\d\d-\d\d")
_APART: Final = 2**31 - 2**24
_SERVER: Final = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           (SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)),
           (SELECT md5(string_agg(concat_ws(' ', enumtypid, enumlabel), ',' ORDER BY oid)) FROM pg_enum),
           (SELECT md5(string_agg(concat_ws(' ', attrelid, attnum, atttypid), ',' ORDER BY attrelid, attnum))
            FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE c.relkind = 'c')
"""

Statement = tuple[str, Sequence[Any] | None]


class Ground(BaseModel):
    """``server``: of it and its types, what stands for rows being as they were made. ``catalog``: of the
    table. ``oldest``: 64 bits of the id below which every transaction had ended."""

    model_config = ConfigDict(frozen=True)

    server: tuple[str | None, ...]
    catalog: str
    oldest: int


def server_of(connection: Connection[Any]) -> tuple[str | None, ...] | None:
    """None: the user may not ask. In no transaction, which would be aborted then."""
    with suppress(errors.InsufficientPrivilege):
        found = connection.execute(_SERVER).fetchone()
        return None if found is None else tuple(found)
    return None


def ground_of(server: tuple[str | None, ...], catalog: Catalog, at: PostgresSnapshot) -> Ground:
    """Catalogs are equal where their texts are: they are values through and through."""
    told = blake2b(repr(catalog).encode(), digest_size=16).hexdigest()
    return Ground(server=server, catalog=told, oldest=min([at.xmax, *at.running]))


def oldest_since(then: str, now: Ground, at: PostgresSnapshot) -> int | None:
    """The id from which on transactions may have changed rows; None if that cannot be told any more."""
    try:
        before = Ground.model_validate_json(then)
    except ValidationError:
        return None
    same = (before.server, before.catalog) == (now.server, now.catalog)
    return before.oldest if same and 0 <= at.xmax - before.oldest < _APART else None


def changed(rows: Rows, table: str, oldest: int) -> tuple[Rows, Statement]:
    """The keys of what was changed by transactions from ``oldest`` on."""
    keys = Rows([each for each in rows.columns if each.name in rows.key], rows.key)
    head = f"SELECT {keys.select} FROM {table} AS t".replace("%", "%%")
    return keys, (f"{head} WHERE age(t.xmin) <= age(%s::text::xid)", (str(oldest % 2**32),))


def by_key(rows: Rows, catalog: Catalog, named: Sequence[str], table: str, keys: Set[str]) -> list[Statement]:
    """Statements that read the rows with these keys. ``named``: the key's columns as the source has them.

    Raises NotByKey.
    """
    types = {each.name: each.type for each in catalog.attributes}
    for name in named:
        if types[name].name not in _CASTS or types[name].form != "b":
            raise NotByKey(f"a key of type {types[name].name} is not asked for by its text")
    quoted = {column.name: column.quoted for column in rows.columns}
    columns = ", ".join(quoted[name] for name in rows.key)
    casts = ", ".join(f"k{n}::{_CASTS[types[name].name]}" for n, name in enumerate(named))
    places = ", ".join("%s::text[]" for _ in named)
    names = ", ".join(f"k{n}" for n in range(len(named)))
    head = f"SELECT {rows.select} FROM {table} WHERE ({columns})".replace("%", "%%")
    query = f"{head} IN (SELECT {casts} FROM unnest({places}) AS k({names}))"
    parts = parts_of(sorted(keys), rows.key)
    for column, name in zip(zip(*parts, strict=True), named, strict=False):
        if types[name].name in _DATED and not all(map(_DAY.match, column)):
            raise NotByKey(f"a day of {name} lies before the year 1 or after 9999")
    return [
        (
            query,
            [[_text(each) for each in column] for column in zip(*parts[at : at + KEYS_AT_ONCE], strict=True)],
        )
        for at in range(0, len(parts), KEYS_AT_ONCE)
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
