"""A program on a small disk of its own: fills it, writes, makes room, writes again.

Run as ``python -m tests.lake.full_disk FOLDER PART``, with FOLDER on an empty disk of 12 MB and PART a kind
of table, or ``drain``. Prints as JSON what was said of each write that was refused, and ends with an error if
one left a trace, or if not all goes on once there is room.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cdc_platform.core.columns import KEY, UPDATE
from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import StoredTable
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.upkeep import compact, vacuum
from cdc_platform.replicate import Drain, Failure, Outcome, Replica, Until
from tests.lake.rows import STREAM, fitted, row
from tests.replicate.events import created
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import keys, replica

BLOCK = 4096


def tables_are_refused_and_go_on(folder: Path, kind: Kind) -> list[str]:
    table = DeltaLakeTable(folder / kind.value, kind)
    path, filler = Path(table.uri), folder / "filler"
    write(table, 0)
    write(table, 1)
    size = max(file.stat().st_size for file in path.glob("*.parquet"))
    told = []
    for room in (0, BLOCK, size // 2, size - BLOCK, *last_blocks(size, kind)):
        fill(filler, room)
        told += refused(table, partial(write, table))
        assert_log_is_whole(table)
        filler.unlink()
        vacuum(path, retention_hours=0)  # of data whose commit was refused
    fill(filler, 0)
    told += refused_upkeep(path)
    filler.unlink()
    offset = table.open(STREAM).offsets[0]
    write(table, offset)
    compact(path)
    assert sorted(table.rows().collect()[KEY]) == sorted(f"k{n}" for n in range(offset + 1))
    return told


def last_blocks(size: int, kind: Kind) -> list[int]:
    """So much room that the data is written, and what comes after it is not, or just."""
    data = -(-size // BLOCK) * BLOCK * (2 if kind is Kind.CURRENT else 1)
    return [data + n * BLOCK for n in range(4)]


def write(table: DeltaLakeTable, offset: int) -> None:
    handle = table.open(STREAM)
    noise = random.Random(offset).randbytes(200_000).hex()
    rows = fitted(handle, [row(0, offset, f"k{offset}", UPDATE, text=noise)])
    change = table.append if table.uri.endswith(Kind.CHANGELOG) else table.merge
    change(handle, rows, {0: Range(offset, offset + 1)}, {"cdc.ranges": f"0:[{offset},{offset + 1})"})


def refused(table: StoredTable, once_more: Callable[[int], None]) -> list[str]:
    """What is said of one write, if it is refused. Then the table must be as it was. ``once_more``: writes at
    an offset."""
    before, held = table.open(STREAM), table.rows().collect()
    try:
        once_more(before.offsets[0])
        return []
    except Conflict:
        raise
    except Transient as error:
        told = str(error)
    after = table.open(STREAM)
    assert (after.version, after.offsets) == (before.version, before.offsets), after
    assert table.rows().collect().equals(held)
    return [told]


def assert_log_is_whole(table: DeltaLakeTable) -> None:
    log = sorted(file.name for file in (Path(table.uri) / "_delta_log").iterdir())
    assert log == [f"{version:020}.json" for version in range(table.open(STREAM).version + 1)], log


def refused_upkeep(path: Path) -> list[str]:
    try:
        compact(path)
    except Transient as error:
        return [str(error)]
    return []


def a_drain_fails_and_goes_on(folder: Path) -> list[str]:
    log = MemoryLog()
    stream = log.create("shop.shop.orders", partitions=1)
    orders = replica(
        stream,
        DeltaLakeTable(folder / "orders_changes", Kind.CHANGELOG),
        DeltaLakeTable(folder / "orders", Kind.CURRENT),
    )
    noise = random.Random(0).randbytes(200_000).hex()
    log.write(stream.topic, 0, created("first", text=noise))
    assert failures(drained(orders, log)) == []
    log.write(stream.topic, 0, *(created(n, text=noise[n:]) for n in range(5)))
    filler = folder / "filler"
    fill(filler, 4 * BLOCK)
    told = failures(drained(orders, log))
    assert len(told) == 1, told
    assert keys(orders.changelog, stream) == keys(orders.current, stream) == ['"first"']
    filler.unlink()
    assert failures(drained(orders, log)) == []
    expected = sorted(['"first"', *"01234"])
    assert keys(orders.changelog, stream) == keys(orders.current, stream) == expected
    return told


def drained(of: Replica, log: MemoryLog) -> list[Outcome]:
    found: list[Outcome] = []
    with Drain([of], log, Until(caught_up=True)) as drain:
        while drain.running:
            if outcome := drain.take(timeout=0.1):
                found.append(outcome)
    return found


def failures(outcomes: list[Outcome]) -> list[str]:
    return [str(each.error) for each in outcomes if isinstance(each, Failure)]


def fill(filler: Path, room: int) -> None:
    """Leave so many bytes free."""
    filler.unlink(missing_ok=True)
    disk = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - room))


if __name__ == "__main__":
    folder, part = Path(sys.argv[1]), sys.argv[2]
    told = (
        a_drain_fails_and_goes_on(folder)
        if part == "drain"
        else tables_are_refused_and_go_on(folder, Kind(part))
    )
    print(json.dumps(told))
