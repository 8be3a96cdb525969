"""Where an event stands in its source's history: what each engine's events tell of it, and how that orders.

Invariants
- ``POSITIONS`` has what is needed to tell two events apart that Kafka holds twice (``identity``), to order
  events of different partitions (``order``), and to say what had happened at a moment of the source
  (``verify``).
- A rank only grows along what a connector sends of one history. An event whose rank is lower than one before
  it in its partition was sent again, or comes from another history; where a rank is null, or ``total`` is
  false, only the event itself can tell which of the two.
- Rows that an initial snapshot read have no place among the events: they are before all that follow.

MongoDB: the cluster time and the order in the transaction. PostgreSQL: ``lsn`` is the event's own,
``prior_commit_lsn`` that of the commit before its transaction's (null in the first transaction after a
connector's start, and in snapshots), ``tx_id`` has 32 bits in streamed events and 64 in snapshots. MariaDB
and MySQL: the transaction's GTID and its place in the binlog, and the order in the transaction; the rows of
an initial snapshot have no GTID, those of an incremental one do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import polars as pl

from cdc_platform.core.columns import DEAD_LETTERS, METADATA, OPERATION, POSITION, READ, SCHEMAS
from cdc_platform.core.model import Contents


class Engine(StrEnum):
    """The databases that can be captured."""

    MONGODB = "mongodb"
    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"
    MYSQL = "mysql"

    @property
    def called(self) -> str:
        """For people."""
        return _TITLES[self]


_TITLES: Final[Mapping[Engine, str]] = {
    Engine.MONGODB: "MongoDB",
    Engine.POSTGRESQL: "PostgreSQL",
    Engine.MARIADB: "MariaDB",
    Engine.MYSQL: "MySQL",
}


_BINLOG: Final = pl.Struct(
    {"gtid": pl.String, "file": pl.String, "pos": pl.Int64, "row": pl.Int64, "total_order": pl.Int64}
)
POSITIONS: Final[Mapping[Engine, pl.DataType]] = {
    Engine.MONGODB: METADATA[POSITION],
    Engine.POSTGRESQL: pl.Struct(
        {"lsn": pl.Int64, "prior_commit_lsn": pl.Int64, "tx_id": pl.Int64, "total_order": pl.Int64}
    ),
    Engine.MARIADB: _BINLOG,
    Engine.MYSQL: _BINLOG,
}
"""Type of the column POSITION."""

_SECOND: Final = 2**24
"""Events of one second that MongoDB's rank tells apart; of those beyond, the identity tells."""


def metadata(engine: Engine) -> pl.Schema:
    """The columns that the platform adds to every row of such a source."""
    return pl.Schema({**METADATA, POSITION: POSITIONS[engine]})


def made_with(contents: Contents, engine: Engine) -> pl.Schema:
    """The columns that a lake table has from the beginning."""
    beside = {"dead_letters": DEAD_LETTERS, "schemas": SCHEMAS}
    return beside[contents] if contents in beside else metadata(engine)


def of(name: str) -> pl.Expr:
    """One field of the position."""
    return pl.col(POSITION).struct.field(name)


def kind_of(position: pl.DataType) -> Engine:
    """The engine (MARIADB also for MySQL) whose events have such a position."""
    assert isinstance(position, pl.Struct)
    names = {field.name for field in position.fields}
    if "ord" in names:
        return Engine.MONGODB
    return Engine.POSTGRESQL if "lsn" in names else Engine.MARIADB


def order(engine: Engine) -> list[pl.Expr]:
    """What to sort by, so that events of different partitions come in the order of their source."""
    match engine:
        case Engine.MONGODB:
            return [of("seconds"), of("ord"), of("total_order")]
        case Engine.POSTGRESQL:
            # Changes of one transaction come together, in the order of the commits.
            return [pl.coalesce(of("prior_commit_lsn"), of("lsn")), of("lsn"), of("total_order")]
    return [_file_number(), of("pos"), of("total_order")]


def before(position: Mapping[str, object], engine: Engine) -> pl.Expr:
    """True for rows that come before a truncation at this position.

    A truncation waits until all other changes of its table have ended: in PostgreSQL's log they are before it
    or after it, too, in whatever order their transactions were committed.
    """
    by = [of("lsn")] if engine is Engine.POSTGRESQL else order(engine)
    given = pl.DataFrame({POSITION: [position]}, schema={POSITION: POSITIONS[engine]})
    limits = given.select(each.fill_null(-1).alias(str(at)) for at, each in enumerate(by)).row(0)
    found, level = pl.lit(value=False), pl.lit(value=True)
    for part, limit in zip(by, limits, strict=True):
        value = part.fill_null(-1)
        found, level = found | (level & (value < limit)), level & (value == limit)
    return found


def identity(engine: Engine) -> list[pl.Expr]:
    """What two events have in common only if they are the same event (beside their key)."""
    match engine:
        case Engine.MONGODB:
            return [of("seconds"), of("ord"), of("total_order")]
        case Engine.POSTGRESQL:
            return [of("lsn"), of("tx_id"), of("total_order")]
    return [of("gtid"), of("file"), of("pos"), of("total_order")]


def rank(engine: Engine) -> pl.Expr:
    """A number (Int64) that never falls along a connector's stream; null where an event has none."""
    match engine:
        case Engine.MONGODB:
            return of("seconds") * _SECOND + of("ord").clip(0, _SECOND - 1)
        case Engine.POSTGRESQL:
            return of("prior_commit_lsn")
        case Engine.MARIADB:
            # Of domain 0 alone: several domains have no order among each other.
            return of("gtid").str.extract(r"^0-\d+-(\d+)$").cast(pl.Int64)
    return pl.lit(None, dtype=pl.Int64)  # another server goes on with another file after a failover


def is_snapshot(engine: Engine) -> pl.Expr:
    """Rows of an initial snapshot, which have no position among the events."""
    read = pl.col(OPERATION) == READ
    match engine:
        case Engine.MONGODB:
            return read & (of("ord") == -1)
        case Engine.POSTGRESQL:
            return read & of("tx_id").is_not_null()
    return read & of("gtid").is_null()


def told(position: Mapping[str, object], engine: Engine) -> str:
    """For people."""
    names: Sequence[str] = {
        Engine.MONGODB: ("seconds", "ord"),
        Engine.POSTGRESQL: ("lsn", "tx_id"),
    }.get(engine, ("gtid", "file", "pos"))
    return ", ".join(f"{name} {position[name]}" for name in names if position.get(name) is not None)


def _file_number() -> pl.Expr:
    """Of binlog.000042: the number grows, and its digits may."""
    return of("file").str.split(".").list.last().cast(pl.Int64, strict=False)
