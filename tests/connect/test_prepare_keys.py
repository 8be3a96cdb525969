"""What is found wrong with tables before they are captured, whatever the database."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_platform.connect.prepare.keyed import Found, avro_name, require_tables, wanted
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import TableId
from cdc_platform.core.source import Source


def source(*tables: str, **more: Any) -> Source:
    given = {"name": "shop", "engine": "mariadb", "uri": "mariadb://a:b@db", "database": "shop"}
    return Source.model_validate({**given, "tables": tables, **more})


def found(name: str, *columns: str, key: tuple[str, ...] = (), what: str = "table") -> dict[TableId, Found]:
    table = TableId("shop", name)
    return {table: Found(table, what, columns, key)}


def refused(declared: Source, there: dict[TableId, Found]) -> Terminal:
    with pytest.raises(Terminal) as refusal:
        require_tables(declared, wanted(declared, declared.collections), there, "here")
    return refusal.value


def test_a_table_with_a_key_is_fine_and_so_is_one_with_a_declared_key_or_declared_to_have_none() -> None:
    there = found("orders", "id", key=("id",)) | found("visits", "day", "page") | found("log", "text")
    declared = source("orders", "visits", "log", keys={"visits": ["day", "page"], "log": []})
    require_tables(declared, wanted(declared, declared.collections), there, "here")


def test_all_tables_that_are_missing_are_named_at_once() -> None:
    refusal = refused(source("orders", "people", "log"), found("log", "id", key=("id",)))
    assert "shop.orders, shop.people" in refusal.what


def test_a_view_is_no_table() -> None:
    assert "shop.orders is a view" in refused(source("orders"), found("orders", "id", what="view")).what


def test_a_table_without_a_key_is_refused_with_both_ways_out() -> None:
    refusal = refused(source("visits", "log"), found("visits", "day") | found("log", "text"))
    assert "visits, log" in refusal.what
    assert "keys: {visits: [column, …]}" in refusal.remedy
    assert "keys: {visits: []}" in refusal.remedy


def test_a_declared_key_has_columns_of_its_table() -> None:
    refusal = refused(source("visits", keys={"visits": ["dya"]}), found("visits", "day", "page"))
    assert "no such column: dya" in refusal.what
    assert "day, page" in refusal.remedy


def test_columns_that_would_have_one_name_are_told_apart_by_a_person() -> None:
    refusal = refused(source("orders"), found("orders", "id", "a b", "a_b", key=("id",)))
    assert "'a b' and 'a_b' of shop.orders would both be called a_b" in refusal.what


@pytest.mark.parametrize(
    ("column", "name"), [("id", "id"), ("a b", "a_b"), ("1st", "_1st"), ("größe", "gr__e"), ("🙂", "__")]
)
def test_a_column_is_called_what_debezium_makes_of_it(column: str, name: str) -> None:
    assert avro_name(column) == name
