"""The lake as of a snapshot of PostgreSQL, truncations included: a replay of what had been committed.

Truncations come in one partition, the rows they remove in all; commits are not in the order of transaction
ids, nor of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.columns import DELETE, KEY, OPERATION, TRUNCATE, UPDATE
from cdc_platform.core.digest import encoder, row_digest
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.position import Engine, metadata
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.verify.as_of import Opened, as_of, live_keys
from cdc_platform.verify.fold import fold_against
from cdc_platform.verify.position import PostgresSnapshot

STREAM = Stream("cluster", "shop.public.orders", "uuid-1", 3)
ROW = pl.Schema({**metadata(Engine.POSTGRESQL), "id": pl.Int64(), "v": pl.Int64()})
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
encode = encoder()

Change = tuple[int | None, int | None]
"""Key and value; without a value a delete, without a key a truncation."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """``xid``: taken when it began, so commits are not in their order."""

    xid: int
    changes: tuple[Change, ...]


CHANGES = st.one_of(
    st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9)),
    st.tuples(st.none(), st.none()),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Transaction]:
    changes = draw(st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=8))
    xids = draw(st.permutations(range(100, 100 + len(changes))))
    return [Transaction(xid, tuple(each)) for xid, each in zip(xids, changes, strict=True)]


def rows(history: Sequence[Transaction]) -> list[dict[str, Any]]:
    """Events in the order of the commits; offsets count within each partition."""
    found: list[dict[str, Any]] = []
    ends = dict.fromkeys(range(STREAM.partitions), 0)
    lsn = 1_000
    commit: int | None = None
    for transaction in history:
        for order, (key, value) in enumerate(transaction.changes):
            partition = 0 if key is None else key % STREAM.partitions
            lsn += 10
            operation = TRUNCATE if key is None else DELETE if value is None else UPDATE
            position = {
                "lsn": lsn,
                "prior_commit_lsn": commit,
                "tx_id": transaction.xid,
                "total_order": order,
            }
            found.append(
                {
                    KEY: None if key is None else f'{{"id":{key}}}',
                    OPERATION: operation,
                    "_cdc_timestamp": MOMENT,
                    "_cdc_position": position,
                    "_cdc_resent": None,
                    "_kafka_topic": STREAM.topic,
                    "_kafka_partition": partition,
                    "_kafka_offset": ends[partition],
                    "_ingestion_timestamp": MOMENT,
                    "_ingestion_date": date(2026, 1, 1),
                    "id": key,
                    "v": value,
                }
            )
            ends[partition] += 1
        lsn += 10
        commit = lsn
    return found


def replay(history: Sequence[Transaction]) -> dict[int, int]:
    alive: dict[int, int] = {}
    for key, value in (change for each in history for change in each.changes):
        if key is None:
            alive.clear()
        elif value is None:
            alive.pop(key, None)
        else:
            alive[key] = value
    return alive


def digests(alive: dict[int, int]) -> dict[str, int]:
    texts = {f'{{"id":{key}}}': {"id": key, "v": value} for key, value in alive.items()}
    return {key: row_digest(key, encode(document)) for key, document in texts.items()}


def lake(history: Sequence[Transaction]) -> tuple[Opened, Opened]:
    """Both tables, with all of it."""
    events = rows(history)
    tables = [MemoryTable(f"memory://{name}", metadata(Engine.POSTGRESQL)) for name in ("changes", "orders")]
    ends = {p: sum(e["_kafka_partition"] == p for e in events) for p in range(STREAM.partitions)}
    advance = {partition: Range(0, end) for partition, end in ends.items()}
    last: dict[str, dict[str, Any]] = {}
    for event in events:
        if event[OPERATION] == TRUNCATE:
            last.clear()
        else:
            last[event[KEY]] = event
    current = [event for event in last.values() if event[OPERATION] != DELETE]
    for table, its in zip(tables, (events, current), strict=True):
        table.append(table.open(STREAM), pl.DataFrame(its, schema=ROW), advance, {})
    changelog, now = (Opened(table, table.open(STREAM)) for table in tables)
    return changelog, now


@given(histories(), st.data())
def test_any_snapshot_gives_the_rows_of_that_moment(history: list[Transaction], data: st.DataObject) -> None:
    committed = data.draw(st.integers(0, len(history)), label="transactions committed at T")
    known = data.draw(st.integers(0, committed), label="transactions in Kafka before T")
    changelog, current = lake(history)
    running = frozenset(each.xid for each in history[committed:])
    at = PostgresSnapshot(min(running, default=200), 200, running, 0, 0)
    before = rows(history[:known])
    since = {p: sum(e["_kafka_partition"] == p for e in before) for p in range(STREAM.partitions)}
    state = as_of(changelog, current, at, since)
    expected = replay(history[:committed])
    assert dict(state.digests()) == digests(expected)
    assert live_keys(changelog, current.handle.offsets, at, since) == len(expected)
    assert not state.unfolded


@given(histories())
def test_the_current_table_is_the_fold_of_a_changelog_with_truncations(history: list[Transaction]) -> None:
    changelog, current = lake(history)
    assert fold_against(changelog, current, pass_rows=3).equal
