"""What had happened by a position: each engine's rule against one written plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.columns import POSITION
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.verify.position import ClusterTime, GtidPosition, GtidSet, PostgresSnapshot, SourcePosition


def seen(at: SourcePosition, engine: Engine, events: Sequence[Mapping[str, Any]]) -> list[bool]:
    frame = pl.DataFrame(
        {POSITION: [{**dict.fromkeys(_names(engine)), **each} for each in events]},
        schema={POSITION: POSITIONS[engine]},
    )
    return frame.with_columns(at.visible().alias("v"))["v"].to_list()


def _names(engine: Engine) -> list[str]:
    dtype = POSITIONS[engine]
    assert isinstance(dtype, pl.Struct)
    return [field.name for field in dtype.fields]


WRAPS = st.sampled_from([10, 2**31, 2**32, 2**32 + 2**31, 3 * 2**32])


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[PostgresSnapshot, list[int]]:
    """A snapshot about a wrap of the 32-bit counter, and the transactions that were begun about it."""
    xmax = draw(WRAPS) + draw(st.integers(-5, 20))
    running = frozenset(draw(st.lists(st.integers(max(3, xmax - 10), xmax - 1), max_size=4)))
    xmin = min(running, default=xmax)
    near = [xid for xid in range(xmax - 25, xmax + 25) if xid >= 3]
    return PostgresSnapshot(xmin, xmax, running, 5_000, 0), near


@given(snapshots())
def test_postgresql_sees_what_was_committed_when_the_snapshot_was_taken(
    drawn: tuple[PostgresSnapshot, list[int]],
) -> None:
    at, xids = drawn
    expected = [xid < at.xmax and xid not in at.running for xid in xids]
    streamed = seen(at, Engine.POSTGRESQL, [{"tx_id": xid % 2**32, "lsn": 9_999} for xid in xids])
    whole = seen(at, Engine.POSTGRESQL, [{"tx_id": xid, "lsn": 9_999} for xid in xids])
    assert (streamed, whole) == (expected, expected)


def test_rows_of_an_incremental_snapshot_are_judged_by_the_log() -> None:
    at = PostgresSnapshot.parsed("10:12:10", 5_000, 0)
    assert seen(at, Engine.POSTGRESQL, [{"lsn": 4_999}, {"lsn": 5_000}, {"lsn": 5_001}]) == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("text", ["10:20:10,14,15", "5:5:", "4294967290:4294967300:4294967295"])
def test_a_snapshot_is_written_as_postgresql_writes_it(text: str) -> None:
    assert str(PostgresSnapshot.parsed(text, 0x1_0000_00FF, 0)) == text
    assert PostgresSnapshot.parsed(text, 0x1_0000_00FF, 0).title == f"snapshot {text} (LSN 1/FF)"


@given(
    st.dictionaries(st.integers(0, 3), st.tuples(st.integers(1, 9), st.integers(1, 20)), max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 25)), max_size=30),
)
def test_mariadb_sees_each_domain_up_to_its_own_number(
    domains: dict[int, tuple[int, int]], events: list[tuple[int, int, int]]
) -> None:
    text = ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(domains.items()))
    at = GtidPosition.parsed(text, "binlog.000001", 4, 0)
    gtids = [{"gtid": f"{domain}-{server}-{number}"} for domain, server, number in events]
    expected = [domain in domains and number <= domains[domain][1] for domain, _, number in events]
    assert seen(at, Engine.MARIADB, gtids) == expected
    assert str(at) == text


ORIGINS = st.sampled_from(["3e11fa47-71ca-11e1-9e33-c80aa9429562", "aaaaaaaa-0000-0000-0000-000000000001"])
RANGES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), min_size=1, max_size=4)


@given(
    st.dictionaries(ORIGINS, RANGES, max_size=2),
    st.lists(st.tuples(ORIGINS, st.integers(1, 40)), max_size=30),
)
def test_mysql_sees_the_executed_transactions_of_each_origin(
    executed: dict[str, list[tuple[int, int]]], events: list[tuple[str, int]]
) -> None:
    text = ",\n".join(
        ":".join([origin, *(f"{first}-{first + more}" if more else str(first) for first, more in ranges)])
        for origin, ranges in executed.items()
    )
    at = GtidSet.parsed(text, "binlog.000001", 4, 0)
    expected = [
        any(first <= number <= first + more for first, more in executed.get(origin, ()))
        for origin, number in events
    ]
    assert seen(at, Engine.MYSQL, [{"gtid": f"{o.upper()}:{n}"} for o, n in events]) == expected
    assert GtidSet.parsed(str(at), "binlog.000001", 4, 0) == at


def test_mysql_keeps_tagged_transactions_apart() -> None:
    at = GtidSet.parsed("aa:1-5:nightly:1-2:7", "binlog.000001", 4, 0)
    gtids = ["aa:5", "aa:6", "aa:nightly:2", "aa:nightly:5", "aa:nightly:7"]
    assert seen(at, Engine.MYSQL, [{"gtid": each} for each in gtids]) == [True, False, True, False, True]


@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_mongodb_compares_seconds_and_then_the_order_in_the_second(
    at: tuple[int, int], event: tuple[int, int]
) -> None:
    found = seen(ClusterTime(*at), Engine.MONGODB, [{"seconds": event[0], "ord": event[1]}])
    assert found == [event <= at]


POSITIONS_TAKEN: list[tuple[Engine, SourcePosition]] = [
    (Engine.MONGODB, ClusterTime(1_790_000_000, 3)),
    (Engine.POSTGRESQL, PostgresSnapshot.parsed("10:12:10", 5_000, 1_790_000_000_000)),
    (Engine.MARIADB, GtidPosition.parsed("0-7-100,1-7-3", "binlog.000002", 500, 1_790_000_000_000)),
    (Engine.MYSQL, GtidSet.parsed("aa:1-5,bb:1", "binlog.000002", 500, 1_790_000_000_000)),
]


@pytest.mark.parametrize(("engine", "at"), POSITIONS_TAKEN)
def test_what_the_platform_puts_at_a_position_is_visible_there(engine: Engine, at: SourcePosition) -> None:
    source = dict(at.source())
    assert str(source["ts_ms"]).startswith("1790000000")
    place = source.get("position", {"seconds": 1_790_000_000, "ord": source.get("ord")})
    assert isinstance(place, dict)
    assert seen(at, engine, [place]) == [True]
    assert str(at) in at.title
