"""A lake written by the platform's own path, and the same tables in memory, which tell what was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from cdc_platform.core.logical import stored
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.ports import Lake, LakeTable
from cdc_platform.core.settings import Settings
from cdc_platform.platform import lake_of
from cdc_platform.replicate import Replica, replicate
from tests.corpus.rows import CORPUS
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica, rows

SOURCE = "shop"
RECORDED = ("deep", "edges", "names", "update")
"""Tables of events that Debezium sent of real documents."""

ORDERS = "orders"

_DATE = {"$date": 1_700_000_000_123}
_OLD = {"$date": -86_400_001}
_PRICE = {"$numberDecimal": "12345678901234567890.1200"}

ROUNDS: tuple[tuple[Visible, ...], ...] = (
    (
        created(1, name="A", price=_PRICE, at=_DATE, place={"city": "Y", "geo": {"lat": 1.5, "lon": -0.0}}),
        created(2, name="", at=_OLD, items=[{"sku": "s", "n": 1}, {"sku": None, "n": None}, {"sku": "t"}]),
        created(3, items=[], tags=["a", None, "é \U0001f600"], big={"$numberLong": str(2**62)}, ok=True),
        created(4, items=None, nan={"$numberDouble": "NaN"}, raw={"$binary": "AAH/", "$type": "00"}),
        created(5, id={"$oid": "65f0c0ffee65f0c0ffee65f0"}, lists=[[1, 2], [], None]),
        *(created(n, name=f"n{n}", items=[{"sku": f"s{n}", "n": n}]) for n in range(10, 40)),
    ),
    (
        updated(1, name="A2", added="new", place={"city": None, "geo": None, "zip": "0100"}),
        deleted(2),
        updated(3, items=[{"sku": "x", "n": 7, "more": {"deep": [1]}}, None]),
        created(6, added="only"),
        *(deleted(n) for n in range(10, 20)),
    ),
    (
        created(2, name="again"),
        updated(6, added="twice"),
        deleted(3),
        *(updated(n, name=f"m{n}") for n in range(20, 25)),
    ),
)


@dataclass(frozen=True, slots=True)
class State:
    """A table after a round: its version in each format, and its rows in memory."""

    versions: Mapping[Format, int]
    table: pa.Table

    @property
    def rows(self) -> list[str]:
        return told(self.table)


@dataclass(slots=True)
class Written:
    """``states``: by table and kind, one a round."""

    root: Path
    lakes: Mapping[Format, Lake]
    states: dict[tuple[str, Kind], list[State]] = field(default_factory=dict)

    def newest(self, name: str, kind: Kind) -> State:
        return self.states[name, kind][-1]


def write(root: Path) -> Written:
    settings = Settings(lake_root=root, state_dir=root / "state")
    made = Written(root, {form: lake_of(settings, form) for form in Format})
    log = MemoryLog()
    _replicated(made, log, ORDERS, [[(n % 3, each) for n, each in _by_key(events)] for events in ROUNDS])
    for name in RECORDED:
        _replicated(made, log, name, [list(_recorded(name))])
    return made


def table_name(name: str, kind: Kind) -> tuple[str, str]:
    return SOURCE, name if kind is Kind.CURRENT else f"{name}_changes"


def told(table: pa.Table) -> list[str]:
    """Rows as text, in an order of their own: what two readers say of the same row is the same text."""
    found = ({name: _plain(value) for name, value in sorted(row.items())} for row in _rows(table))
    return sorted(repr(each) for each in found)


def used(table: pa.Table) -> pa.Table:
    """Without columns that are null in every row: those that came later, to a reader that knows them."""
    return table.select([name for name in table.column_names if table[name].null_count < table.num_rows])


def _by_key(events: Iterable[Visible]) -> Iterable[tuple[int, Visible]]:
    for key, value in events:
        assert key is not None
        yield int(orjson.loads(orjson.loads(key)["id"])), (key, value)


def _recorded(name: str) -> Iterable[tuple[int, Visible]]:
    for line in (CORPUS / f"{name}.jsonl").read_bytes().splitlines():
        event = orjson.loads(line)
        yield event["partition"], (event["key"].encode(), event["value"] and event["value"].encode())


def _replicated(
    made: Written, log: MemoryLog, name: str, rounds: Sequence[Iterable[tuple[int, Visible]]]
) -> None:
    stream = log.create(f"{SOURCE}.{SOURCE}.{name}")
    specified = replica(stream)
    writers = {
        form: replica(
            stream,
            *(lake.table(table_name(name, kind), kind) for kind in (Kind.CHANGELOG, Kind.CURRENT)),
            letters=lake.table((SOURCE, f"{name}_deadletters"), "dead_letters"),
        )
        for form, lake in made.lakes.items()
    }
    for events in rounds:
        for partition, event in events:
            log.write(stream.topic, partition, event)
        for each in (specified, *writers.values()):
            replicate(each, log)
        for kind in Kind:
            versions = {form: _table(each, kind).open(stream).version for form, each in writers.items()}
            state = State(versions, stored(rows(_table(specified, kind), stream)))
            made.states.setdefault((name, kind), []).append(state)


def _table(of: Replica, kind: Kind) -> LakeTable:
    return of.changelog if kind is Kind.CHANGELOG else of.current


def _rows(table: pa.Table) -> Iterable[dict[str, pa.Scalar]]:
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for n in range(table.num_rows):
        yield {name: column[n] for name, column in columns.items()}


def _plain(value: pa.Scalar) -> Any:
    """Times as microseconds: Python has no years beyond 9999."""
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_struct(kind):
        return {name: _plain(each) for name, each in sorted(value.items())}
    if pa.types.is_map(kind):
        raise AssertionError("no column is a map")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(each) for each in value.values]
    if pa.types.is_timestamp(kind):
        return value.cast(pa.timestamp("us", "UTC")).value
    return value.as_py()
