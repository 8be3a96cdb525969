"""Upkeep beside a writer that commits all the time and a reader that reads all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import orjson
import pytest

from cdc_platform.core.columns import OFFSET
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.ports import Lake
from cdc_platform.lake.iceberg.lake import IcebergLake
from cdc_platform.operate.keeping_up import patiently
from cdc_platform.platform import lake_of, table_name
from tests.reading.shop import SOURCE, Shop, shop
from tests.replicate.events import deleted, updated
from tests.replicate.memory_log import Visible

NAMES = {kind: table_name(SOURCE, "orders", kind) for kind in Kind}
PAST, EVENTS = 12, 40
"""Events before the others begin, and in all."""


def change(n: int) -> Visible:
    return deleted(n % 7) if n % 5 == 4 else updated(n % 7, v=n)


def state_at(offset: int) -> dict[int, int]:
    """What the first so many changes make of the shop."""
    state: dict[int, int] = {}
    for n in range(offset):
        state.pop(n % 7, None)
        if n % 5 != 4:
            state[n % 7] = n
    return state


@pytest.fixture(params=list(Format))
def orders(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """With a past, compacted, of which nothing but the newest version is still needed."""
    made = shop(tmp_path, request.param)
    for n in range(PAST):
        made.append(change(n))
        if n % 3 == 2:
            made.merge()
    lake = lake_of(made.settings, made.format)
    for name in NAMES.values():
        lake.compact(name)
    return made


@pytest.fixture
def lake(orders: Shop) -> Lake:
    """Everything that was replaced so far was replaced two hours ago."""
    lake = lake_of(orders.settings, orders.format)
    if isinstance(lake, IcebergLake):
        now = datetime.now(UTC) + timedelta(hours=1)
        return replace(lake, now=lambda: now)
    for log in orders.settings.lake_root.glob("delta/shop/*/_delta_log/*.json"):
        actions = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        for action in actions:
            if removed := action.get("remove"):
                removed["deletionTimestamp"] -= 2 * 3600 * 1000
        log.write_bytes(b"\n".join(map(orjson.dumps, actions)))
    return lake


def keep_up(lake: Lake, done: Event) -> tuple[int, int]:
    """Compactions that made files fewer, and files removed."""
    fewer = removed = 0
    while not done.is_set():
        for name in NAMES.values():
            compacted = patiently(lambda name=name: lake.compact(name))
            fewer += compacted.files_after < compacted.files_before
            removed += patiently(lambda name=name: lake.clean(name, 1))
        done.wait(0.25)
    return fewer, removed


def read_on(orders: Shop, done: Event) -> Iterator[int]:
    """Look at everything again and again; gives the offsets that the changes had, each once."""
    table, offsets = orders.table, {0: 0}
    while True:
        last = done.is_set()
        state = table.state()
        expected = state_at(state.offsets[0])
        assert dict(state.rows.select("_id", "v").collect().iter_rows()) == expected
        rows = table.current.rows().collect()
        assert rows.height == rows["_id"].n_unique()
        assert table.changelog.rows().collect().height >= state.offsets[0]
        batch = table.changelog.since(offsets)
        yield from batch.rows.collect()[OFFSET]
        offsets = dict(batch.offsets)
        if last:
            return


def write(orders: Shop) -> None:
    for n in range(PAST, EVENTS):
        orders.append(change(n))
        if n % 4 == 3:
            orders.merge()


def test_no_row_is_lost_or_doubled_and_no_reader_fails(orders: Shop, lake: Lake) -> None:
    done = Event()

    def until_written(work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            done.set()

    with ThreadPoolExecutor(3) as pool:
        kept = pool.submit(keep_up, lake, done)
        read = pool.submit(lambda: list(read_on(orders, done)))
        pool.submit(until_written, lambda: write(orders)).result()
    orders.merge()
    fewer, removed = kept.result()
    assert read.result() == list(range(EVENTS))
    assert removed >= PAST
    assert fewer
    table = orders.table
    assert table.changelog.rows().collect()[OFFSET].sort().to_list() == list(range(EVENTS))
    assert dict(table.current.rows().select("_id", "v").collect().iter_rows()) == state_at(EVENTS)
