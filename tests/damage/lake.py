"""One table of a shop in both formats, filled by the replication itself; topic and source are in memory.

What is damaged is on the disk. A lake is put back as it was by copying its folder, which is faster than
living its life again.
"""

from __future__ import annotations

import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.digest import bucket_of, encoder, row_digest
from cdc_platform.core.errors import MovedBack
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.position import Engine
from cdc_platform.decode.sql import SqlDecoder
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.lake.iceberg.history import IcebergHistory
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.prove import prove
from cdc_platform.replicate import Replica, replicate
from cdc_platform.replicate.hearing import hear
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.complete import offsets_complete
from cdc_platform.verify.finding import Check, Finding, combined, failed, of_proof, said
from cdc_platform.verify.integrity import cdf_integrity
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.parity import Side, delta_iceberg_parity
from cdc_platform.verify.schema import schema_consistent
from cdc_platform.verify.shape import Shape, Text
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.unreadable import unreadable
from cdc_platform.verify.verdict import Result
from tests.damage.damages import Tables
from tests.damage.outsider import DeltaOutsider, IcebergOutsider, Outsider
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica
from tests.replicate.sql_events import SqlTable, described

TOPIC, MARKERS = "shop.public.orders", "shop.public.cdc_markers"
PARTITIONS: Final = 2
NOW: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
_DECIMAL, _PRECISION = "org.apache.kafka.connect.data.Decimal", "connect.decimal.precision"
_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "id": described("int64"),
    "name": described("string"),
    "note": described("string"),
    "price": described("bytes", name=_DECIMAL, parameters={"scale": "2", _PRECISION: "10"}),
    "at": described("int64", name="io.debezium.time.MicroTimestamp"),
    "size": described("double"),
}
_encode: Final = encoder()

Row = dict[str, Any]


def row(number: int, name: str = "Zoë", **values: Any) -> Row:
    at = datetime(2026, 3, 29, 1, 30, 0, 250_000)
    price = Decimal(number * 100 + 50).scaleb(-2)
    whole = {"name": f"{name} {number}", "note": None, "price": price, "at": at, "size": number + 0.5}
    return {"id": number, **whole, **values}


def key_of(number: int) -> str:
    return orjson.dumps({"id": number}).decode()


@dataclass(frozen=True, slots=True)
class Now:
    """A position at which everything has happened."""

    title: str = "the end of the shop's history"

    def visible(self) -> pl.Expr:
        return pl.lit(value=True)

    def source(self) -> Mapping[str, object]:
        return {"ts_ms": int(NOW.timestamp() * 1000)}


@dataclass(slots=True)
class Source:
    """The shop's database. What happens in it is told to the topic, unless it is ``unheard``."""

    log: MemoryLog
    there: dict[int, Row] = field(default_factory=dict)
    table: SqlTable = field(default_factory=lambda: SqlTable(columns=_COLUMNS))

    def put(self, new: Row, *, unheard: bool = False) -> None:
        number = new["id"]
        event = self.table.updated if number in self.there else self.table.created
        self.there[number] = new
        if not unheard:
            self._tell(number, event(**_sent(new)))

    def delete(self, number: int) -> None:
        gone = self.there.pop(number)
        self._tell(number, self.table.deleted(**_sent(gone)))

    def _tell(self, number: int, event: Visible) -> None:
        self.log.write(TOPIC, number % PARTITIONS, event, None)

    def position(self) -> Now:
        return Now()

    def shape(self) -> Shape:
        return Shape({name: Text.DECIMAL if name == "price" else Text.ITSELF for name in _COLUMNS})

    def digests(self, at: Now, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        del at
        for number, each in self.there.items():
            key = key_of(number)
            if buckets is None or bucket_of(key) in buckets:
                yield key, row_digest(key, _encode(each))

    def of_keys(self, at: Now, keys: Set[str]) -> Iterator[tuple[str, int]]:
        return ((key, digest) for key, digest in self.digests(at) if key in keys)

    def rows(self, at: Now) -> int:
        del at
        return len(self.there)

    def ground(self) -> str | None:
        return None

    def changed(self, at: Now, ground: str) -> frozenset[str] | None:
        del at, ground
        return None

    def cells(self, at: Now, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        del at
        rows = {key_of(number): each for number, each in self.there.items()}
        return {
            key: {name: _encode({name: value}) for name, value in rows[key].items()}
            for key in keys
            if key in rows
        }

    def mark(self, marker: str) -> None:
        key = orjson.dumps({"id": marker})
        self.log.write(MARKERS, 0, (key, orjson.dumps({"op": "c"})), None)

    def close(self) -> None: ...


def _sent(values: Row) -> Row:
    """As Debezium writes it."""
    price, at = values["price"], values["at"]
    unscaled = int(price.scaleb(2)).to_bytes(8, "big", signed=True)
    micros = int(at.replace(tzinfo=UTC).timestamp() * 1_000_000)
    return {**values, "price": b64encode(unscaled).decode(), "at": micros}


class Lake:
    """``folder``: of its own, the same whenever it is put back, as Iceberg's files have full paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MemoryLog()
        self.stream = self.log.create(TOPIC, PARTITIONS)
        self.log.create(MARKERS, 1)
        self.source = Source(self.log)
        self.catalog = on_sqlite("lake", folder / "catalog.db", f"file://{folder}/iceberg")
        self.replicas = {stored: self._replica(stored) for stored in Format}

    @classmethod
    def live(cls, folder: Path) -> Lake:
        """With a past that its checks have seen, and some changes since."""
        lake = cls(folder)
        lake.happen(0)
        lake.happen(1)
        assert {each.verdict for found in lake.checked().values() for each in found} == {"pass"}
        lake.happen(2)
        return lake

    @classmethod
    def again(cls, folder: Path, template: Path) -> Lake:
        """The lake as it was when its folder was copied to ``template``."""
        shutil.rmtree(folder)
        shutil.copytree(template, folder)
        lake = cls(folder)
        for chapter in range(3):
            lake.tell(chapter)
        return lake

    def happen(self, chapter: int) -> None:
        self.tell(chapter)
        for each in self.replicas.values():
            replicate(each, self.log)

    def tell(self, chapter: int) -> None:
        match chapter:
            case 0:
                for number in range(1, 13):
                    self.source.put(row(number, note="gift" if number == 2 else None))
            case 1:
                self.source.put(row(3, name="Łukasz"))
                self.source.delete(11)
            case _:
                self.source.put(row(5, name="Ana"))
                self.source.put(row(20))
                self.source.delete(12)

    def tables(self, stored: Format) -> Tables:
        """``changed`` was changed by the newest commit, ``deleted`` is gone since it."""
        outsiders = {kind: self._outsider(stored, kind) for kind in Kind}
        keys = [key_of(number) for number in (7, 2, 5, 12)]
        return Tables(outsiders[Kind.CURRENT], outsiders[Kind.CHANGELOG], *keys)

    def checked(self, *formats: Format) -> dict[Format, list[Finding]]:
        """Every check but that of the lag."""
        return {stored: list(self._checked(stored)) for stored in formats or Format}

    def topic(self, stored: Format, newest: int = 100_000) -> Topic:
        one = self.replicas[stored]

        def letters() -> pl.LazyFrame | None:
            return one.letters.rows().select(PARTITION, OFFSET) if one.letters.exists() else None  # type: ignore[attr-defined]

        return Topic(
            self.stream,
            self.log,
            newest,
            time.monotonic,
            letters=letters,
            key_of=one.decode.key_of,
            hear=partial(hear, one),
        )

    def opened(self, stored: Format, kind: Kind) -> Opened:
        table = self._table(stored, kind)
        return Opened(table, table.open(self.stream))

    def _checked(self, stored: Format) -> Iterator[Finding]:
        places = [self._place(stored, kind) for kind in (Kind.CHANGELOG, Kind.CURRENT)]
        notes = Notes(self.folder / "checks", "orders", stored)
        topic = partial(self.topic, stored)
        yield from self._proof(stored)
        looks: dict[Check, Callable[[], Finding]] = {
            Check.CDF_INTEGRITY: lambda: cdf_integrity(
                "orders", *places, self.stream, notes, NOW, topic=topic
            ),
            Check.OFFSETS_COMPLETE: lambda: offsets_complete("orders", places[0], topic()),
            Check.SCHEMA_CONSISTENT: lambda: schema_consistent("orders", *places, self.stream, notes, NOW),
            Check.DELTA_ICEBERG_PARITY: lambda: delta_iceberg_parity("orders", *map(self.side, Format)),
        }
        for check, look in looks.items():
            yield self._looked(stored, check, look)

    def _looked(self, stored: Format, check: Check, look: Callable[[], Finding]) -> Finding:
        """As the platform looks (``cdc_platform.operate.checking``)."""
        both = Format if check is Check.DELTA_ICEBERG_PARITY else [stored]
        try:
            return look()
        except MovedBack as error:
            found = failed(said(error))
        except (pl.exceptions.PolarsError, OSError) as error:
            found = unreadable([self._place(each, kind).history for each in both for kind in Kind], error)
        return combined("orders", check, [found])

    def side(self, stored: Format) -> Side:
        current = self.opened(stored, Kind.CURRENT)
        return Side(stored, self.opened(stored, Kind.CHANGELOG), current, partial(self.topic, stored))

    def _proof(self, stored: Format) -> Sequence[Finding]:
        try:
            return of_proof(self._proven(stored))
        except (pl.exceptions.PolarsError, OSError) as error:
            found = unreadable([self._place(stored, kind).history for kind in Kind], error)
            return [combined("orders", check, [found]) for check in (Check.ROW_COUNTS, Check.CONTENT)]

    def _proven(self, stored: Format) -> Result:
        one = self.replicas[stored]
        subject = Subject(
            "orders",
            self.stream,
            self.source,
            self.log,
            one.changelog,
            one.current,
            MARKERS,
            format=stored,
            topic=partial(self.topic, stored),
        )
        marker = f"proof {time.monotonic_ns()}"
        return prove(subject, marker=marker, deadline=30, clock=time.monotonic, sleep=time.sleep)

    def _replica(self, stored: Format) -> Replica:
        tables = {kind: self._table(stored, kind) for kind in Kind}
        letters = DeltaLakeTable(self.folder / f"{stored}_letters", "dead_letters")
        made = replica(self.stream, tables[Kind.CHANGELOG], tables[Kind.CURRENT], letters=letters)
        return replace(made, decode=SqlDecoder(Engine.POSTGRESQL), format=stored)

    def _table(self, stored: Format, kind: Kind) -> StoredTable:
        if stored is Format.DELTA:
            return DeltaLakeTable(self.folder / kind.value, kind, engine=Engine.POSTGRESQL)
        return IcebergLakeTable(lambda: self.catalog, ("shop", kind.value), kind, engine=Engine.POSTGRESQL)

    def _place(self, stored: Format, kind: Kind) -> Place:
        table = self._table(stored, kind)
        if stored is Format.DELTA:
            return Place(table, DeltaHistory(self.folder / kind.value))
        return Place(table, IcebergHistory(lambda: self.catalog, ("shop", kind.value)))

    def _outsider(self, stored: Format, kind: Kind) -> Outsider:
        if stored is Format.DELTA:
            return DeltaOutsider(str(self.folder / kind.value))
        opened = SqlCatalog("lake", **self.catalog.properties)
        return IcebergOutsider(opened, ("shop", kind.value))


def keys_of(lake: Lake, stored: Format) -> list[str]:
    rows = lake.opened(stored, Kind.CURRENT).rows().select(KEY).collect()
    return sorted(rows[KEY].to_list())
