"""A source database and the tables captured from it, as declared in ``defs/<source>/defs.yaml``.

Invariants
- Everything that has a name elsewhere (connector, topics, tables, assets) derives its name here, so that the
  connector writes to the topic the reader reads.
- ``collections`` are the names the platform knows: ``core.naming`` makes them of what was declared. ``table``
  is the only way back to the name in the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl
from pydantic import field_validator, model_validator

from cdc_platform.core.address import address, require_of
from cdc_platform.core.capture import Capture, Wire
from cdc_platform.core.declaration import Declaration
from cdc_platform.core.declared import column_type
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.naming import TableId, as_declared, at_edges, require_apart, shortest, split
from cdc_platform.core.partitioning import Folder
from cdc_platform.core.pattern import carried, is_glob, matches, nearly_matches
from cdc_platform.core.position import Engine
from cdc_platform.core.row_schema import Compatibility

__all__ = ["MARKERS", "SIGNALS", "Capture", "Source", "Wire"]

MARKERS: Final = "cdc_markers"
"""Captured collection that verification writes a marker into, to know that the stream passed a position."""

SIGNALS: Final = "cdc_signals"
"""Captured table or collection through which the connector is told to read rows again."""

_OWN: Final = (MARKERS, SIGNALS)
_LONGEST_SLOT: Final = 63


class Source(Declaration):
    """One database whose collections (of PostgreSQL, MariaDB and MySQL: tables) are captured.

    Neither its repr nor what is said of a wrong declaration shows a value: ``uri`` may hold a password.
    """

    @model_validator(mode="before")
    @classmethod
    def _as_declared(cls, given: object) -> object:
        """Globs and names apart, so that everything in ``collections`` is one collection."""
        return as_declared(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Source:
        self.capture.require_of(self.engine)
        self.verify.require_of(self.engine)
        if self.engine is Engine.MONGODB:
            if self.database != carried(self.database):
                raise ValueError("database: a name in letters, digits, '.', '_' and '-'")
            if self.keys:
                raise ValueError("keys: every document of MongoDB has its _id")
            if self.renamed:
                raise ValueError("renamed: of MongoDB's documents each has its own fields")
        elif self.wire is Wire.JSON:
            raise ValueError(
                "wire: json does not tell the types of a table's columns; declare avro or json_with_schema"
            )
        if quoted := [each.name for each in map(self.table, self.collections) if at_edges(each.name)]:
            raise ValueError(
                f"{quoted[0]}: Debezium does not take a table whose name begins or ends with a quote"
            )
        if strange := [each for each in map(self.table, self.collections) if not self._streams(each)]:
            raise ValueError(
                f"{strange[0]}: Debezium loses changes of a table of PostgreSQL whose name has other than "
                f"ASCII characters; rename it"
            )
        if "{{" in self.uri:  # Dagster fills it in later, and reads the declaration again
            return self
        if self.engine is Engine.MONGODB:
            require_of(self.engine, self.uri)
        elif address(self.engine, self.uri).database not in ("", self.database):
            raise ValueError("uri: it names another database than the field `database`")
        return self

    @model_validator(mode="after")
    def _captures_something(self) -> Source:
        if not self.collections and not self.globs:
            raise ValueError("collections: name one, at least")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Source:
        own = [name for name in self.collections if self._is_own(name)]
        if own:
            raise ValueError(f"{own[0]} is the platform's own collection and is captured by itself")
        require_apart(self.collections, [self.topic(name) for name in self.captured])
        return self

    @model_validator(mode="after")
    def _single_collections_are_captured(self) -> Source:
        single = (
            "partition_collections_by",
            "collection_formats",
            "collection_compatibility",
            "keys",
            "renamed",
        )
        for field in single:
            named = getattr(self, field).keys() - set(self.collections)
            if unknown := sorted(name for name in named if not self.takes(name)):
                raise ValueError(f"{field} names what is no collection here: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _columns_are_of_captured_collections(self) -> Source:
        if unknown := sorted(self.columns.keys() - set(self.collections)):
            raise ValueError(f"columns names what is no collection here: {', '.join(unknown)}")
        if doubled := [name for name, key in self.keys.items() if len(set(key)) < len(key)]:
            raise ValueError(f"keys names a column of {doubled[0]} twice")
        return self

    @field_validator("formats")
    @classmethod
    def _formats_are_distinct(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(dict.fromkeys(formats))

    def formats_of(self, collection: str) -> tuple[Format, ...]:
        """Formats that a collection's lake tables are stored in."""
        return self.collection_formats.get(collection, self.formats)

    def declared(self, collection: str) -> pl.Schema:
        """Columns that the collection's changelog has from the beginning, by their logical types."""
        return pl.Schema({name: column_type(text) for name, text in self.columns.get(collection, {}).items()})

    def partitioned_by(self, collection: str, kind: Kind) -> tuple[Folder, ...]:
        """Columns that a lake table is partitioned by."""
        chosen = self.partition_collections_by.get(collection, self.partition_by)
        return {Kind.CHANGELOG: chosen.changelog, Kind.CURRENT: chosen.current}.get(kind, ())

    def compatibility_of(self, collection: str) -> Compatibility:
        """Which changes of its schema are taken."""
        return self.collection_compatibility.get(collection, self.compatibility)

    def lake_kinds(self, collection: str) -> tuple[Kind, ...]:
        """``kinds_of`` in their order: the changelog comes first."""
        return tuple(kind for kind in Kind if kind in self.kinds_of(collection))

    def kinds_of(self, collection: str) -> frozenset[Kind]:
        """What a collection is replicated into. Declared to have no key, it has a changelog only."""
        return frozenset(Kind) if self.keys.get(collection) != () else frozenset({Kind.CHANGELOG})

    def with_collections(self, names: Iterable[str]) -> Source:
        """The source with collections that its globs take, beside those it names."""
        more = sorted(name for name in names if self.takes(name) and name not in self.collections)
        return self.model_copy(update={"collections": (*self.collections, *more)})

    def takes(self, name: str) -> bool:
        """Whether a collection is one that the globs are for."""
        text = self._in_full(name)
        return not self._is_own(name) and matches([self._in_full(glob) for glob in self.globs], text)

    def nearly_takes(self, name: str) -> bool:
        """Whether only a character that cannot be carried keeps the globs from taking a collection."""
        return nearly_matches([self._in_full(glob) for glob in self.globs], self._in_full(name))

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every collection in each of its formats."""
        return tuple(Target(name, each) for name in self.collections for each in self.formats_of(name))

    @property
    def written_as(self) -> Wire:
        """How its events are written in Kafka."""
        return self.wire or (Wire.JSON if self.engine is Engine.MONGODB else Wire.AVRO)

    @property
    def connector(self) -> str:
        """Name of the connector in Kafka Connect."""
        return f"cdc-{self.name}"

    @property
    def slot(self) -> str:
        """Of the connector's replication slot and publication in PostgreSQL: 63 characters at most."""
        if len(name := f"cdc_{self.name}") <= _LONGEST_SLOT:
            return name
        return f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"

    @property
    def server_id(self) -> int:
        """The connector's id among the replicas of a MariaDB or MySQL server, always the same."""
        made = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4])
        return self.capture.server_id or 2**30 + made % 2**30

    def topic(self, collection: str) -> str:
        """The Kafka topic Debezium writes this collection's events to."""
        return f"{self.name}.{carried(str(self.table(collection)))}"

    def table(self, collection: str) -> TableId:
        """Its name in the database."""
        if collection in _OWN and self.engine is Engine.POSTGRESQL:
            return TableId(self.own_schema, collection)
        return split(self.originals.get(collection, collection), self.engine, self.database)

    def known_as(self, table: TableId) -> str | None:
        """The name that a table of the database is known by; None if that is another's.

        A table that is not declared is known by its name, as a glob takes it or not.
        """
        text = shortest(str(table), self.engine) if self.engine is Engine.POSTGRESQL else table.name
        declared = {original: name for name, original in self.originals.items()}
        return declared.get(text) or (None if text in self.originals else text)

    @property
    def own_schema(self) -> str:
        """Where the platform's own tables are. Of PostgreSQL public, or the first schema captured."""
        texts = (*(self.originals.get(name, name) for name in self.collections), *self.globs)
        schemas = [split(text, self.engine, self.database).schema for text in texts]
        usual = split(MARKERS, self.engine, self.database).schema
        return next((each for each in schemas if not is_glob(each)), usual) if usual not in schemas else usual

    @property
    def captured(self) -> tuple[str, ...]:
        """All collections the connector includes: the declared ones and the platform's own."""
        return (*self.collections, *_OWN)

    def _in_full(self, name: str) -> str:
        """With PostgreSQL's schema, so that a glob of one schema takes no table of another."""
        if self.engine is not Engine.POSTGRESQL:
            return name
        return str(split(self.originals.get(name, name), self.engine, self.database))

    def _streams(self, table: TableId) -> bool:
        """Debezium 3.4 reads names in PostgreSQL's stream byte by byte, and drops changes of others."""
        return self.engine is not Engine.POSTGRESQL or str(table).isascii()

    def _is_own(self, name: str) -> bool:
        return (name.rpartition(".")[2] if self.engine is Engine.POSTGRESQL else name) in _OWN
