"""A REST catalog that fails, before it has applied a commit and after: every row is there once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
from pyiceberg.catalog import Catalog

from cdc_platform.core.columns import UPDATE
from cdc_platform.core.errors import Conflict, Terminal, Transient
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.catalog import opened
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact
from tests.lake.contract import content, places
from tests.lake.independent import places as independently
from tests.lake.proxy import Fault, Proxy, proxy
from tests.lake.rows import STREAM, fitted, row

pytestmark = pytest.mark.stack

NAME = ("shop", "orders")
ERROR = '{"error": {"message": "it said so", "type": "Some", "code": 500}}'


@pytest.fixture
def before(rest_url: str, rest_catalog: Catalog) -> Iterator[Proxy]:
    """Stands before the catalog. ``rest_catalog`` removes what the test makes."""
    with proxy(rest_url) as made:
        yield made


def reached_by(url: str, answer_s: float = 30) -> Catalog:
    return opened("faulty", {"type": "rest", "uri": url, "answer-timeout-s": str(answer_s)})


def write(table: IcebergLakeTable, handle: Handle, at: int) -> Handle:
    rows = fitted(handle, [row(0, at, "k", UPDATE, v=at), row(0, at + 1, f"k{at}", v=at)])
    change = table.append if table.uri.endswith("changes") else table.merge
    return change(handle, rows, {0: Range(at, at + 2)}, {})


def changelog(catalog: Catalog) -> IcebergLakeTable:
    return IcebergLakeTable(lambda: catalog, ("shop", "orders_changes"), Kind.CHANGELOG)


def current(catalog: Catalog) -> IcebergLakeTable:
    return IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)


Made = Callable[[Catalog], IcebergLakeTable]
TABLES = pytest.mark.parametrize("made", [changelog, current])
UNKNOWN = [
    Fault(500, body=ERROR),
    Fault(None),
    Fault(500, body="<html>not a catalog's error</html>"),
    Fault(502),
    Fault(503),
    Fault(504),
    Fault(501),
    Fault(429),
    Fault(200, body="<html>a proxy's page</html>"),
    Fault(200, body="{}"),
]
# In pairs: each fault after a commit was applied, the first two in every way.
COMBINATIONS = [
    pytest.param(
        made,
        fault,
        applied,
        id=f"{fault.status} {fault.body[:6]} {'after' if applied else 'before'} {made.__name__}",
        marks=() if n < 2 or (applied and made is changelog) else pytest.mark.matrix,
    )
    for made in (changelog, current)
    for n, fault in enumerate(UNKNOWN)
    for applied in (False, True)
]


@pytest.mark.parametrize(("made", "fault", "applied"), COMBINATIONS)
def test_a_commit_without_a_clear_answer_is_there_once(
    before: Proxy, rest_catalog: Catalog, made: Made, fault: Fault, applied: bool
) -> None:
    catalog = reached_by(before.url)
    table = made(catalog)
    first = write(table, table.open(STREAM), 0)
    before.fail("POST", replace(fault, applied=int(applied)))
    with pytest.raises(Transient, match=r"did not confirm the commit of 0:\[2,4\)") as raised:
        write(table, first, 2)
    assert not isinstance(raised.value, Conflict)
    assert raised.value.where == table.uri
    assert raised.value.remedy
    if applied:  # the handle is of the table as it was
        with pytest.raises(Conflict):
            write(table, first, 2)
    goes_on(table, rest_catalog, 4 if applied else 2)
    catalog.close()


def test_an_answer_that_comes_too_late_is_not_waited_for(
    rest_url: str, rest_catalog: Catalog, before: Proxy
) -> None:
    table = changelog(rest_catalog)
    write(table, table.open(STREAM), 0)
    catalog = reached_by(before.url, answer_s=2)
    before.fail("POST", Fault(0, applied=1, delay=6))
    handle = changelog(catalog).open(STREAM)
    began = time.monotonic()
    with pytest.raises(Transient, match="timed out"):
        write(changelog(catalog), handle, 2)
    assert 1.9 < time.monotonic() - began < 5
    goes_on(table, rest_catalog, 4)
    catalog.close()


def goes_on(table: IcebergLakeTable, catalog: Catalog, at: int) -> None:
    """From the offsets that the table tells of itself, to a table that is whole."""
    handle = table.open(STREAM)
    assert handle.offsets == {0: at}
    for each in range(at, 8, 2):
        handle = write(table, handle, each)
    whole(table, catalog, 8)


def whole(table: IcebergLakeTable, catalog: Catalog, upto: int) -> None:
    """All rows up to this offset, each once, also to a stranger."""
    name = tuple(table.uri.removeprefix("iceberg:").split("."))
    expected = [(0, n) for n in range(upto)]
    if not table.uri.endswith("changes"):
        expected = [each for each in expected if each[1] % 2 or each[1] == upto - 2]
    assert places(content(table)) == expected
    found = independently(catalog.load_table(name).metadata_location)
    assert [(partition, offset) for partition, offset, _ in found] == expected


@TABLES
def test_a_refusal_is_a_conflict_and_leaves_no_trace(
    before: Proxy, rest_catalog: Catalog, made: Made
) -> None:
    catalog = reached_by(before.url)
    table = made(catalog)
    first = write(table, table.open(STREAM), 0)
    before.fail("POST", Fault(409, body=ERROR))
    with pytest.raises(Conflict):
        write(table, first, 2)
    assert table.open(STREAM).offsets == {0: 2}
    write(table, table.open(STREAM), 2)
    whole(table, rest_catalog, 4)
    catalog.close()


@TABLES
@pytest.mark.parametrize(
    "fault", [Fault(0, applied=2), Fault(409, applied=1, body=ERROR)], ids=["sent twice", "said only"]
)
def test_a_commit_that_a_gateway_sent_again_is_made_though_the_second_one_is_refused(
    before: Proxy, rest_catalog: Catalog, made: Made, fault: Fault
) -> None:
    catalog = reached_by(before.url)
    table = made(catalog)
    first = write(table, table.open(STREAM), 0)
    before.fail("POST", fault)
    second = write(table, first, 2)
    assert second.offsets == {0: 4}
    write(table, second, 4)
    whole(table, rest_catalog, 6)
    catalog.close()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_commit_that_nobody_may_make_needs_a_person(
    before: Proxy, rest_catalog: Catalog, status: int
) -> None:
    catalog = reached_by(before.url)
    table = changelog(catalog)
    first = write(table, table.open(STREAM), 0)
    before.fail("POST", *[Fault(status, body=ERROR)] * 2)
    with pytest.raises(Terminal) as raised:
        write(table, first, 2)
    assert raised.value.remedy
    catalog.close()
    assert changelog(rest_catalog).open(STREAM).offsets == {0: 2}


@pytest.mark.parametrize("applied", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("request_number", range(3))
def test_a_table_whose_creation_was_not_answered_is_made_once(
    before: Proxy, rest_catalog: Catalog, request_number: int, applied: int
) -> None:
    """Of the namespace, of the staged table, of the commit that makes it."""
    catalog = reached_by(before.url)
    table = changelog(catalog)
    passes = [Fault(0, applied=1)] * request_number
    before.fail("POST", *passes, Fault(500, applied=applied, body=ERROR))
    known = request_number == 0 and applied  # it is looked for whether the namespace is there
    with nullcontext() if known else pytest.raises(Transient):
        table.open(STREAM)
    write(table, table.open(STREAM), 0)
    whole(table, rest_catalog, 2)
    catalog.close()


def test_a_catalog_that_is_down_holds_nobody_and_all_goes_on_once_it_is_back(
    rest_url: str, rest_catalog: Catalog
) -> None:
    with proxy(rest_url) as down:
        catalog = reached_by(down.url)
        table = changelog(catalog)
        first = write(table, table.open(STREAM), 0)
        down.fail("GET", *[Fault(None)] * 2)
        for _ in range(2):
            with pytest.raises(Transient, match="could not be loaded"):
                table.open(STREAM)
    with pytest.raises(Transient, match="Connection refused"):
        write(table, first, 2)
    catalog.close()
    write(changelog(rest_catalog), changelog(rest_catalog).open(STREAM), 2)
    whole(changelog(rest_catalog), rest_catalog, 4)


@pytest.mark.parametrize("applied", [0, 1], ids=["before", "after"])
def test_a_compaction_without_a_clear_answer_keeps_every_row(
    before: Proxy, rest_catalog: Catalog, applied: int
) -> None:
    catalog = reached_by(before.url)
    table = changelog(catalog)
    handle = table.open(STREAM)
    for at in (0, 2, 4):
        handle = write(table, handle, at)
    before.fail("POST", Fault(504, applied=applied))
    with pytest.raises(Transient, match="could not be kept up"):
        compact(catalog, ("shop", "orders_changes"))
    whole(table, rest_catalog, 6)
    write(table, table.open(STREAM), 6)
    assert compact(catalog, ("shop", "orders_changes")).files_after == 1
    whole(table, rest_catalog, 8)
    catalog.close()
