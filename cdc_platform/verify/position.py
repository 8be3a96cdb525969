"""A moment of a source's history, in the terms of its engine: what had happened by then, and what had not.

Invariants
- ``visible`` is true for the changes that a reader of the source sees at the position, and for no others. It
  is asked only of events that came to Kafka about when the position was taken: 32 bits of a transaction id
  tell those apart.
- ``source`` is a place in the source's history that is visible at the position and at every later one.

What a violated invariant breaks: a healthy table would fail its proof, or one that lacks a change would pass.

PostgreSQL's commits do not come in the order of the log, nor of the transaction ids: only the snapshot tells
("LSN ≤ T" gave a false alarm in one of four trials). MariaDB and MySQL number transactions as they commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final, Protocol

import polars as pl

from cdc_platform.core.position import of

_XIDS: Final = 2**32


class SourcePosition(Protocol):
    """What a proof stands on. Its text, ``str``, is the source's own way to write it."""

    @property
    def title(self) -> str:
        """For people: what it is, and its text."""
        ...

    def visible(self) -> pl.Expr:
        """Whether an event had happened, by its column POSITION; not asked of rows of an initial
        snapshot."""
        ...

    def source(self) -> Mapping[str, object]:
        """The fields of the ``source`` block of an event that the platform itself puts here: of MongoDB those
        of Debezium's, of others ``ts_ms`` and the ``position`` as the lake keeps it."""
        ...


def time_of(at: SourcePosition) -> datetime:
    """The source's own time at a position, UTC."""
    told = at.source()["ts_ms"]
    assert isinstance(told, int)
    return datetime.fromtimestamp(told / 1000, UTC)


@dataclass(frozen=True, slots=True, order=True)
class ClusterTime:
    """A position of a MongoDB replica set: seconds since 1970, and the order of operations within that
    second."""

    seconds: int
    ord: int

    def __str__(self) -> str:
        return f"{self.seconds}.{self.ord}"

    @property
    def title(self) -> str:
        return f"cluster time {self}"

    def visible(self) -> pl.Expr:
        seconds, ord_ = of("seconds"), of("ord")
        return (seconds < self.seconds) | ((seconds == self.seconds) & (ord_ <= self.ord))

    def source(self) -> Mapping[str, object]:
        return {"ts_ms": self.seconds * 1000, "ord": self.ord}


@dataclass(frozen=True, slots=True)
class PostgresSnapshot:
    """``pg_current_snapshot()``: transactions below ``xmax`` are seen, but for those in ``running``.

    Transaction ids have 64 bits, as in xid8. ``lsn``: the log's end just before the snapshot was taken;
    rows of an incremental snapshot have no transaction and are judged by it. ``at_ms``: the server's clock.
    """

    xmin: int
    xmax: int
    running: frozenset[int]
    lsn: int
    at_ms: int

    @classmethod
    def parsed(cls, snapshot: str, lsn: int, at_ms: int) -> PostgresSnapshot:
        """``snapshot``: as PostgreSQL prints it, ``xmin:xmax:xip,xip``."""
        xmin, xmax, running = snapshot.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(x) for x in running.split(",") if x), lsn, at_ms)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    @property
    def title(self) -> str:
        return f"snapshot {self} (LSN {self.lsn >> 32:X}/{self.lsn & 0xFFFFFFFF:X})"

    def visible(self) -> pl.Expr:
        """Streamed events tell the low 32 bits of their transaction's id: the id is the one that lies within
        2**31 of ``xmax``."""
        low = of("tx_id") % _XIDS
        begun = (low - self.xmax % _XIDS + _XIDS) % _XIDS >= _XIDS // 2
        done = begun & ~low.is_in([x % _XIDS for x in sorted(self.running)])
        return pl.when(of("tx_id").is_null()).then(of("lsn") <= self.lsn).otherwise(done)

    def source(self) -> Mapping[str, object]:
        return {"ts_ms": self.at_ms, "position": {"lsn": self.lsn}}


@dataclass(frozen=True, slots=True)
class GtidPosition:
    """A position of MariaDB: per replication domain the server and the number of its last transaction.

    ``file`` and ``pos``: its place in the binlog. ``at_ms``: the server's clock.
    """

    domains: Mapping[int, tuple[int, int]]
    file: str
    pos: int
    at_ms: int

    @classmethod
    def parsed(cls, gtids: str, file: str, pos: int, at_ms: int) -> GtidPosition:
        """``gtids``: as MariaDB prints them, ``domain-server-number,…``."""
        parts = [tuple(map(int, gtid.split("-"))) for gtid in gtids.split(",") if gtid]
        return cls({domain: (server, number) for domain, server, number in parts}, file, pos, at_ms)

    def __str__(self) -> str:
        return ",".join(f"{domain}-{s}-{n}" for domain, (s, n) in sorted(self.domains.items()))

    @property
    def title(self) -> str:
        return f"GTID {self}"

    def visible(self) -> pl.Expr:
        parts = of("gtid").str.split("-")
        domain, number = (parts.list.get(at, null_on_oob=True).cast(pl.Int64, strict=False) for at in (0, 2))
        return _any((domain == known) & (number <= last) for known, (_, last) in self.domains.items())

    def source(self) -> Mapping[str, object]:
        gtid = str(self).split(",", maxsplit=1)[0] or None
        return {"ts_ms": self.at_ms, "position": {"gtid": gtid, "file": self.file, "pos": self.pos}}


@dataclass(frozen=True, slots=True)
class GtidSet:
    """A position of MySQL: the transactions that a server has executed, as ranges with both ends, by origin.

    ``file`` and ``pos``: its place in the binlog, about. ``at_ms``: the server's clock.
    """

    executed: Mapping[str, tuple[tuple[int, int], ...]]
    file: str
    pos: int
    at_ms: int

    @classmethod
    def parsed(cls, gtids: str, file: str, pos: int, at_ms: int) -> GtidSet:
        """``gtids``: as MySQL prints them, ``uuid:1-5:7,uuid:1-3``; since 8.3 with tags,
        ``uuid:1-5:tag:1``."""
        executed: dict[str, list[tuple[int, int]]] = {}
        for entry in "".join(gtids.split()).split(","):
            origin, *ranges = entry.split(":")
            tag = ""
            for text in ranges:
                if not text[0].isdigit():
                    tag = f":{text}"
                    continue
                first, _, last = text.partition("-")
                executed.setdefault(f"{origin.lower()}{tag}", []).append((int(first), int(last or first)))
        return cls({origin: tuple(each) for origin, each in executed.items()}, file, pos, at_ms)

    def __str__(self) -> str:
        return ",".join(
            ":".join([origin, *(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)])
            for origin, ranges in sorted(self.executed.items())
        )

    @property
    def title(self) -> str:
        return f"GTID set {self}"

    def visible(self) -> pl.Expr:
        origin = of("gtid").str.replace(r":\d+$", "").str.to_lowercase()
        number = of("gtid").str.extract(r":(\d+)$").cast(pl.Int64, strict=False)
        return _any(
            (origin == known) & _any(number.is_between(first, last) for first, last in ranges)
            for known, ranges in self.executed.items()
        )

    def source(self) -> Mapping[str, object]:
        last = [f"{origin}:{ranges[-1][1]}" for origin, ranges in sorted(self.executed.items())]
        gtid = last[0] if last else None
        return {"ts_ms": self.at_ms, "position": {"gtid": gtid, "file": self.file, "pos": self.pos}}


def _any(conditions: Iterable[Any]) -> pl.Expr:
    """True where one holds; false without any, or where it cannot be told."""
    found: pl.Expr = reduce(lambda one, other: one | other, conditions, pl.lit(value=False))
    return found.fill_null(value=False)
