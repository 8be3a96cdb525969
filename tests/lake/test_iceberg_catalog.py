"""Catalogs of Iceberg tables: many users at once, and one clear message where one cannot be used."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from moto import mock_aws
from pyiceberg.catalog.glue import GlueCatalog

from cdc_platform.core.columns import KEY, UPDATE
from cdc_platform.core.errors import CdcError, Conflict, Terminal, Transient
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.catalog import configured, embedded, on_sqlite, opened
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from tests.lake.contract import add, apply, content, keys
from tests.lake.proxy import Fault, Proxy
from tests.lake.rows import STREAM, fitted, row

NAME = ("shop", "orders")

WRITER = """
import sys
from pathlib import Path
from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.catalog import embedded
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from tests.lake.rows import STREAM, fitted, row

root, name = Path(sys.argv[1]), sys.argv[2]
table = IcebergLakeTable(lambda: embedded(root), ("shop", "orders"), Kind.CHANGELOG)
done = 0
print("ready", flush=True)
sys.stdin.readline()
while done < 5:
    handle = table.open(STREAM)
    at = handle.offsets.get(0, 0)
    try:
        table.append(handle, fitted(handle, [row(0, at, name)]), {0: Range(at, at + 1)}, {})
        done += 1
    except Conflict:
        pass
"""


def lake_table(root: Path) -> IcebergLakeTable:
    return IcebergLakeTable(lambda: embedded(root), NAME, Kind.CHANGELOG)


def told(name: str, **configuration: Any) -> CdcError:
    """What is said of a catalog that cannot be used, within a few seconds."""
    began = time.monotonic()
    with pytest.raises(CdcError) as raised:
        opened(name, configuration)
    assert time.monotonic() - began < 5
    assert raised.value.where == f"CDC_ICEBERG_CATALOG={name}"
    assert raised.value.remedy
    return raised.value


def test_processes_that_open_the_embedded_catalog_at_once_write_one_table(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("a", "b", "c")
    ]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == b"ready\n"
    said = []
    with ThreadPoolExecutor(len(writers)) as pool:
        said = list(pool.map(lambda each: each.communicate(b"go\n", timeout=60)[1], writers))
    assert said == [b""] * len(writers)
    assert sorted(keys(lake_table(tmp_path))) == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert lake_table(tmp_path).open(STREAM).offsets == {0: 15}


def test_threads_that_open_the_embedded_catalog_at_once_get_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: embedded(tmp_path), range(8)))
    assert len({id(each) for each in found}) == 1


@pytest.mark.parametrize("name", ["my lake 100% é", "a%20b"])
def test_a_folder_of_an_odd_name_is_the_one_that_is_used(tmp_path: Path, name: str) -> None:
    table = lake_table(tmp_path / name)
    add(table, [row(0, 0, "a")], {0: Range(0, 1)})
    assert content(table).height == table.rows().collect().height == 1
    assert list((tmp_path / name / "iceberg" / "shop" / "orders" / "data").glob("*.parquet"))


@pytest.mark.parametrize("name", ["what?", "a#b"])
def test_a_folder_of_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Terminal, match=r"\? or #") as raised:
        embedded(tmp_path / name)
    assert "CDC_LAKE_ROOT" in raised.value.remedy


def test_a_locked_catalog_is_waited_for_so_long_and_then_goes_on(tmp_path: Path) -> None:
    database = tmp_path / "catalog.db"
    catalog = on_sqlite("lake", database, f"file://{tmp_path}", patience=0.5)
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CHANGELOG)
    handle = add(table, [row(0, 0, "a")], {0: Range(0, 1)})
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(Transient, match="database is locked") as reading:
            table.open(STREAM)
        with pytest.raises(Transient, match="did not confirm the commit") as writing:
            table.append(handle, fitted(handle, [row(0, 1, "b")]), {0: Range(1, 2)}, {})
        assert 0.9 < time.monotonic() - began < 5
        for raised in (reading, writing):
            assert not isinstance(raised.value, Conflict)
            assert raised.value.where == table.uri
            assert "another process holds the catalog's database" in raised.value.remedy
        other.execute("ROLLBACK")
        other.execute("BEGIN IMMEDIATE")  # a writer at work: readers go on, and a commit waits for it
        assert keys(table) == ["a"]
        freed = Timer(0.2, other.execute, ("ROLLBACK",))
        freed.start()
        table.append(handle, fitted(handle, [row(0, 1, "b")]), {0: Range(1, 2)}, {})
        freed.join()
    assert keys(table) == ["a", "b"]


def test_a_catalog_that_is_no_database_is_one_clear_message(tmp_path: Path) -> None:
    database = tmp_path / "catalog.db"
    database.write_text("this is a text, and not a short one: a database would begin otherwise" * 20)
    with pytest.raises(Terminal, match="file is not a database") as raised:
        on_sqlite("lake", database, f"file://{tmp_path}")
    assert raised.value.where == str(database)
    assert raised.value.remedy


def test_a_catalog_where_no_folder_can_be_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "iceberg").write_text("a file")
    with pytest.raises(Transient, match="embedded Iceberg catalog could not be opened") as raised:
        embedded(tmp_path)
    assert str(tmp_path) in raised.value.where
    assert raised.value.remedy


def test_a_catalog_that_vanished_is_transient_and_never_an_empty_table(tmp_path: Path) -> None:
    table = lake_table(tmp_path)
    handle = add(table, [row(0, 0, "a")], {0: Range(0, 1)})
    shutil.rmtree(tmp_path / "iceberg")
    with pytest.raises(Transient) as raised:
        table.open(STREAM)
    with pytest.raises(Transient):
        table.append(handle, fitted(handle, [row(0, 1, "b")]), {0: Range(1, 2)}, {})
    assert raised.value.remedy


def test_a_catalog_that_nobody_configured_is_named() -> None:
    with pytest.raises(Terminal, match="not configured") as raised:
        configured("nowhere")
    assert raised.value.where == "CDC_ICEBERG_CATALOG=nowhere"
    assert "PYICEBERG_CATALOG__NOWHERE__TYPE" in raised.value.remedy


@pytest.mark.parametrize(
    "configuration",
    [
        {"type": "rest"},
        {"type": "sql"},
        {"type": "nonsense", "uri": "http://127.0.0.1:1"},
        {"uri": "ftp://nowhere"},
        {"type": "sql", "uri": "nonsense://"},
        {"type": "rest", "uri": "nonsense"},
        {"type": "hive", "uri": "thrift://127.0.0.1:1"},
        {"type": "glue"},
    ],
    ids=str,
)
def test_a_catalog_that_is_not_configured_well_is_one_clear_message(configuration: dict[str, str]) -> None:
    error = told("mine", **configuration)
    assert isinstance(error, Terminal)


def test_a_catalog_that_is_not_there_is_transient() -> None:
    error = told("mine", type="rest", uri="http://127.0.0.1:1")
    assert isinstance(error, Transient)
    assert "Connection refused" in error.what


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_catalog_that_never_answers_does_not_hold_us(deaf: str) -> None:
    error = told("mine", **{"type": "rest", "uri": deaf, "answer-timeout-s": "0.3"})
    assert isinstance(error, Transient)
    assert "timed out" in error.what


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "", Terminal),
        (403, '{"error": {"message": "no", "type": "NotAuthorizedException", "code": 403}}', Terminal),
        (404, "", Transient),
        (429, "", Transient),
        (500, "<html>oops</html>", Transient),
        (503, "", Transient),
        (200, "<html>a proxy's page</html>", Transient),
    ],
)
def test_a_catalog_that_answers_otherwise_is_one_clear_message(
    faulty: Proxy, status: int, body: str, kind: type[CdcError]
) -> None:
    faulty.fail("GET", *[Fault(status, body=body)] * 2)
    error = told("mine", type="rest", uri=faulty.url)
    assert isinstance(error, kind)


def test_a_glue_catalog_is_loaded_by_configuration_and_sends_no_commit_twice() -> None:
    catalog = opened("mine", {"type": "glue", "glue.region": "eu-west-1", "warehouse": "s3://lake"})
    assert isinstance(catalog, GlueCatalog)
    assert catalog.glue.meta.config.retries["total_max_attempts"] == 1


def test_a_glue_catalog_keeps_a_table_like_any_other(tmp_path: Path) -> None:
    """Against moto: its API is Glue's, its consistency is not."""
    keys_of = {"glue.access-key-id": "x", "glue.secret-access-key": "x"}
    with mock_aws():
        catalog = opened(
            "mine", {"type": "glue", "glue.region": "eu-west-1", "warehouse": f"file://{tmp_path}", **keys_of}
        )
        table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
        late = table.open(STREAM)
        apply(table, [row(0, 0, "a", v=1)], {0: Range(0, 1)})
        apply(table, [row(0, 1, "a", UPDATE, v=2), row(0, 2, "b", v=1)], {0: Range(1, 3)})
        with pytest.raises(Conflict):
            table.merge(late, fitted(late, [row(0, 0, "a")]), {0: Range(0, 1)}, {})
        assert content(table).select(KEY, "v").rows() == [("a", 2), ("b", 1)]
        assert table.open(STREAM).offsets == {0: 3}
