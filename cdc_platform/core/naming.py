"""From the names that are declared to those the platform knows its tables by, and back.

MongoDB's collections keep their names. A table is known by what reaches Kafka of its name
(``pattern.carried``) without the schema ``public``: ``orders``, ``sales.orders``, ``Order_Items`` for "Order
Items". That name is its lake tables', its assets' and its files' too.

Invariant: two tables are never known by one name, and no topic is that of two: such a declaration is refused,
naming both. Otherwise the rows of one would go into the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cdc_platform.core.pattern import carried, is_glob
from cdc_platform.core.position import Engine

PUBLIC: Final = "public"
"""PostgreSQL's schema of a table that is declared without one."""

SYNONYMS: Final[Mapping[str, str]] = {
    "tables": "collections",
    "table_formats": "collection_formats",
    "table_compatibility": "collection_compatibility",
    "partition_tables_by": "partition_collections_by",
}
"""What people who have tables write → the field."""

_BY_TABLE: Final = (
    "columns",
    "keys",
    "renamed",
    "collection_formats",
    "collection_compatibility",
    "partition_collections_by",
)
_QUOTES: Final = ('"', "'", "`")
_SUFFIXES: Final = ("_changes", "_deadletters", "_schemas")


@dataclass(frozen=True, slots=True, order=True)
class TableId:
    """A table's name in its database, as it is. ``schema``: PostgreSQL's; of other engines the database."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def split(text: str, engine: Engine, database: str) -> TableId:
    """``sales.orders`` of PostgreSQL is a table in a schema; one with a dot is declared with its schema."""
    if engine is Engine.POSTGRESQL and "." in text:
        return TableId(*text.split(".", 1))
    return TableId(PUBLIC if engine is Engine.POSTGRESQL else database, text)


def shortest(text: str, engine: Engine) -> str:
    """A table's name as people write it: without the schema ``public``, unless it has a dot itself."""
    schema, _, name = text.partition(".")
    return name if engine is Engine.POSTGRESQL and schema == PUBLIC and name and "." not in name else text


def at_edges(name: str) -> bool:
    """Whether a quote begins or ends a name: Debezium 3.4 takes it for one that is quoted already."""
    return name[:1] in _QUOTES or name[-1:] in _QUOTES


def as_declared(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a source: synonyms by their names, globs apart, tables by the names they are known by.

    Raises ValueError for names that mean one thing twice, or two things once. What has another shape than it
    should is left for the fields' own validation.
    """
    fields = _without_synonyms(given)
    listed = fields.get("collections")
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        return fields
    engine = fields.get("engine", Engine.MONGODB)
    names = [name for name in listed if not is_glob(name)]
    if globs := [name for name in listed if is_glob(name)]:
        fields |= {"globs": [*fields.get("globs", ()), *globs]}
    if engine == Engine.MONGODB:
        return fields | {"collections": names}
    known = known_by(names, Engine(engine) if engine in list(Engine) else Engine.MONGODB)
    originals = dict(fields.get("originals") or {}) | {
        name: text for name, text in known.items() if name != text
    }
    for field in _BY_TABLE:
        if isinstance(by_table := fields.get(field), Mapping):
            fields[field] = {carried(shortest(str(name), engine)): of for name, of in by_table.items()}
    return fields | {"collections": list(known)} | ({"originals": originals} if originals else {})


def known_by(names: Iterable[str], engine: Engine) -> dict[str, str]:
    """The name each table is known by → its name in the database."""
    known: dict[str, str] = {}
    for text in (shortest(name, engine) for name in names):
        name = carried(text)
        if name in known:
            if known[name] == text:
                raise ValueError(f"named twice: {text}")
            raise ValueError(
                f"{known[name]!r} and {text!r} would both be known as {name}: rename one of them"
            )
        known[name] = text
    return known


def require_apart(collections: Sequence[str], topics: Sequence[str]) -> None:
    """Raise ValueError if two tables share a name in the lake, or two topics one in Kafka's metrics."""
    if doubled := sorted({name for name in collections if collections.count(name) > 1}):
        raise ValueError(f"named twice: {', '.join(doubled)}")
    if len({topic.replace(".", "_") for topic in topics}) < len(topics):
        raise ValueError("two names differ only in '.' and '_': Kafka does not create topics for both")
    if nameless := [name for name in collections if not name.strip(".")]:
        raise ValueError(f"{nameless[0]} cannot be the name of a folder")
    for name in collections:
        for beside in (f"{name}{suffix}" for suffix in _SUFFIXES):
            if beside in collections:
                raise ValueError(f"{beside} is also what the lake's table beside {name} is called")


def _without_synonyms(given: Mapping[str, Any]) -> dict[str, Any]:
    if both := [
        f"{other} and {field}" for other, field in SYNONYMS.items() if {other, field} <= given.keys()
    ]:
        raise ValueError(f"{both[0]} are two names of one field")
    return {SYNONYMS.get(field, field): value for field, value in given.items()}
