"""What happens between us and the store: errors, slow and lost answers, cut connections.

Whatever happens to whichever request, an error is one that may be tried again, every row is in the changelog
once, and the current state is the last of each key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog import Catalog

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.core.model import Contents, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.delta.lake import DeltaLake
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.lake.iceberg.credentials import fill_in
from cdc_platform.lake.iceberg.lake import IcebergLake
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.local.s3 import S3Server
from cdc_platform.platform import utc_now
from cdc_platform.replicate import replicate
from tests.lake.buckets import access
from tests.lake.rows import STREAM, fitted, row
from tests.lake.s3_proxy import LOST, LOST_AS_500, REFUSED, Fault, Network, Request, network
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import replica

TOPIC = "shop.shop.orders"
Table = DeltaLakeTable | IcebergLakeTable
Tables = Callable[[Contents], Table]

BUSY = Fault(503, applied=False, code="SlowDown")
IN_CONFLICT = Fault(409, applied=False, code="ConditionalRequestConflict")
SLOW = Fault(delay=0.3)
EXPIRED = Fault(400, applied=False, code="ExpiredToken")
FAULTS = {
    "refused": REFUSED,
    "lost": LOST,
    "lost as 500": LOST_AS_500,
    "busy": BUSY,
    "in conflict": IN_CONFLICT,
    "slow": SLOW,
    "expired": EXPIRED,
}


@pytest.fixture
def between(s3_server: S3Server) -> Iterator[Network]:
    with network(s3_server.endpoint) as made:
        yield made


@pytest.fixture
def through(bucket: S3Folder, between: Network) -> S3Folder:
    """The bucket, reached through the network."""
    return S3Folder(bucket.bucket, bucket.prefix, (), lambda: access(between.endpoint))


def in_delta(root: S3Folder) -> Tables:
    return lambda contents: DeltaLakeTable(root / "delta" / str(contents), contents)


def with_store(catalog: Catalog, root: S3Folder) -> Catalog:
    fill_in(catalog, catalog.properties, root)
    return catalog


def in_iceberg(root: S3Folder, folder: Path) -> Tables:
    opened = with_store(on_sqlite("lake", folder / "catalog.db", str(root / "iceberg")), root)
    return lambda contents: IcebergLakeTable(lambda: opened, ("shop", str(contents)), contents)


def a_log() -> MemoryLog:
    """Thirteen events, two batches and a half of them."""
    log = MemoryLog()
    log.create(TOPIC, 2)
    log.write(TOPIC, 0, *(created(f"k{n}", n=n) for n in range(6)))
    log.write(TOPIC, 1, *(created(f"j{n}", n=n, more={"x": n}) for n in range(4)))
    log.write(TOPIC, 0, updated("k1", n=10), deleted("k2", n=2), updated("k1", n=11, late=True))
    return log


def drained(log: MemoryLog, tables: Tables) -> list[Exception]:
    """What went wrong until nothing did, run after run."""
    stream = log.topics[TOPIC].stream
    table = replica(
        stream, tables(Kind.CHANGELOG), tables(Kind.CURRENT), letters=tables("dead_letters"), batch_rows=5
    )
    errors: list[Exception] = []
    for _ in range(20):
        try:
            replicate(table, log)
        except (Transient, pl.exceptions.PolarsError, OSError) as error:
            errors.append(error)
        else:
            return errors
    raise AssertionError(errors)


def assert_once(log: MemoryLog, tables: Tables) -> None:
    stream = log.topics[TOPIC].stream
    changelog, current = tables(Kind.CHANGELOG), tables(Kind.CURRENT)
    held = changelog.open(stream)
    rows = changelog.read(held).collect().sort(PARTITION, OFFSET)
    assert rows.select(PARTITION, OFFSET).rows() == [*((0, n) for n in range(9)), *((1, n) for n in range(4))]
    assert held.offsets == current.open(stream).offsets == {0: 9, 1: 4}
    state = current.read(current.open(stream)).collect().sort(KEY)
    expected = {f'"k{n}"': n for n in (0, 3, 4, 5)} | {'"k1"': 11} | {f'"j{n}"': n for n in range(4)}
    assert dict(state.select(KEY, "n").rows()) == expected


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        ("lost", Kind.CHANGELOG),
        ("lost as 500", Kind.CURRENT),
        *(
            pytest.param(name, kind, marks=pytest.mark.matrix)
            for name in FAULTS
            for kind in (Kind.CHANGELOG, Kind.CURRENT)
        ),
    ],
)
def test_what_befalls_a_commit_leaves_every_row_there_once(
    between: Network, through: S3Folder, bucket: S3Folder, fault: str, at: Kind
) -> None:
    log = a_log()
    commits_at = lambda request: request.is_commit and f"/{at}/" in request.path  # noqa: E731
    between.fail(commits_at, Fault(), FAULTS[fault], *[FAULTS[fault]] * (fault == "lost"))
    errors = drained(log, in_delta(through))
    assert between.faults_left == 0
    assert all(isinstance(error, Transient) and error.remedy for error in errors)
    assert_once(log, in_delta(bucket))


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        (LOST, Transient, True),
        (LOST_AS_500, Conflict, True),
        (REFUSED, Transient, False),
        (IN_CONFLICT, Conflict, False),
        (EXPIRED, Transient, False),
    ],
    ids=["lost", "lost and asked once more", "refused", "in conflict", "expired"],
)
def test_a_commit_whose_answer_is_no_answer_is_told_by_the_offsets_alone(
    between: Network, through: S3Folder, fault: Fault, error: type[Transient], applied: bool
) -> None:
    """The store's client asks once more after a 500, and is refused by the commit that it made itself."""
    table = in_delta(through)(Kind.CHANGELOG)
    handle = table.open(STREAM)
    between.fail(lambda request: request.is_commit, fault)
    with pytest.raises(Transient) as raised:
        table.append(handle, fitted(handle, [row(0, 0, "a")]), {0: Range(0, 1)}, {})
    assert isinstance(raised.value, error)
    assert table.open(STREAM).offsets == ({0: 1} if applied else {})


@pytest.mark.parametrize("stored", ["delta", pytest.param("iceberg", marks=pytest.mark.matrix)])
def test_an_answer_that_comes_too_late_is_not_waited_for(
    between: Network, bucket: S3Folder, tmp_path: Path, stored: str
) -> None:
    """The store has done what was asked by then."""
    hasty = replace(bucket, access=lambda: access(between.endpoint, answer_s=1))
    tables = in_delta(hasty) if stored == "delta" else in_iceberg(hasty, tmp_path)
    table = tables(Kind.CHANGELOG)
    handle = table.open(STREAM)
    late = Fault(delay=15)
    between.fail(lambda request: request.method == "PUT" and not request.path.endswith(".parquet"), late)
    started = time.monotonic()
    with suppress(Transient):
        table.append(handle, fitted(handle, [row(0, 0, "a")]), {0: Range(0, 1)}, {})
    assert time.monotonic() - started < 14
    if table.open(STREAM).offsets == {}:
        again = table.open(STREAM)
        table.append(again, fitted(again, [row(0, 0, "a")]), {0: Range(0, 1)}, {})
    assert table.rows().collect().height == 1
    assert table.open(STREAM).offsets == {0: 1}


def test_a_store_that_is_down_for_a_while_holds_up_and_loses_nothing(
    between: Network, through: S3Folder, bucket: S3Folder
) -> None:
    log = a_log()
    for wanted in (
        lambda request: request.method == "PUT" and request.path.endswith(".parquet"),
        lambda request: request.is_listing,
        lambda request: request.method == "GET" and request.path.endswith(".json"),
        lambda request: request.method == "GET" and request.path.endswith(".parquet"),
    ):
        between.fail(wanted, Fault(), *[REFUSED, BUSY, LOST_AS_500], *[REFUSED] * 2)
    drained(log, in_delta(through))
    assert between.faults_left == 0
    assert_once(log, in_delta(bucket))
    commits = [request for request in between.asked if request.is_commit]
    assert len(commits) >= 6
    assert all(request.conditional for request in commits)


def test_a_batch_asks_the_store_a_bounded_number_of_times(between: Network, through: S3Folder) -> None:
    """However many commits there are: a handle's next commit reads back its own, and no other."""
    table = in_delta(through)(Kind.CHANGELOG)
    handle = table.open(STREAM)
    for n in range(23):
        between.asked.clear()
        handle = table.append(handle, fitted(handle, [row(0, n, f"k{n}")]), {0: Range(n, n + 1)}, {})
        assert len(between.asked) <= 6 or any("checkpoint" in each.path for each in between.asked)
    between.asked.clear()
    assert table.open(STREAM).offsets == {0: 23}
    assert len(between.asked) <= 40
    between.asked.clear()
    assert table.exists()
    assert len(between.asked) == 1


def test_a_table_in_iceberg_survives_lost_answers_too(
    between: Network, through: S3Folder, bucket: S3Folder, tmp_path: Path
) -> None:
    log = a_log()
    puts: Callable[[Request], bool] = lambda request: request.method == "PUT"  # noqa: E731
    for fault in (LOST, REFUSED, BUSY, LOST_AS_500):
        between.fail(puts, *[Fault()] * 4, fault)
    errors = drained(log, in_iceberg(through, tmp_path))
    assert all(isinstance(error, Transient) and error.remedy for error in errors)
    assert between.faults_left == 0
    assert_once(log, in_iceberg(bucket, tmp_path))


@pytest.mark.matrix
@pytest.mark.parametrize("nth", range(0, 120, 8))
@pytest.mark.parametrize("fault", ["refused", "lost", "lost as 500", "expired"])
@pytest.mark.parametrize("stored", ["delta", "iceberg"])
def test_whatever_befalls_any_request_leaves_every_row_there_once(
    between: Network, through: S3Folder, bucket: S3Folder, tmp_path: Path, stored: str, fault: str, nth: int
) -> None:
    """At first, and once more four requests later."""
    tables: Any = in_delta if stored == "delta" else lambda root: in_iceberg(root, tmp_path)
    log = a_log()
    between.fail(lambda _: True, *[Fault()] * nth, FAULTS[fault], *[Fault()] * 4, FAULTS[fault])
    drained(log, tables(through))
    between.calm()
    assert_once(log, tables(bucket))


@pytest.mark.parametrize("stored", ["delta", pytest.param("iceberg", marks=pytest.mark.matrix)])
def test_a_file_that_the_store_does_not_hand_out_is_not_called_damaged(
    between: Network, through: S3Folder, tmp_path: Path, stored: str
) -> None:
    catalog = with_store(on_sqlite("lake", tmp_path / "catalog.db", str(through / "iceberg")), through)
    lake = DeltaLake(through) if stored == "delta" else IcebergLake(lambda: catalog, utc_now, "test")
    table, history = lake.table(("shop", "orders"), Kind.CURRENT), lake.history(("shop", "orders"))
    handle = table.open(STREAM)
    table.append(handle, fitted(handle, [row(0, 0, "k")]), {0: Range(0, 1)}, {})
    assert history.damaged() == ()
    for nothing in (REFUSED, BUSY):
        between.fail(lambda request: request.path.endswith(".parquet"), *[nothing] * 40)
        with pytest.raises(Transient) as raised:
            history.damaged()
        assert raised.value.remedy
        between.calm()
