"""Literals of keys. Real databases read them as meant: tests/stack/test_rereading.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdc_platform.connect.rows_by_key import MOST_BYTES, MOST_KEYS, binlog, columns, conditions, postgresql
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source

POSTGRESQL = [
    ("int4", "b", 7, "'7'"),
    ("bool", "b", True, "'true'"),
    ("text", "b", "it's \\ ?", "E'it''s \\\\ ?'"),
    ("mood", "e", "so so", "'so so'"),
    ("timestamptz", "b", "2026-01-01T00:00:00.500000Z", "'2026-01-01T00:00:00.500000Z'"),
    ("date", "b", "+10000-01-01", "'10000-01-01'"),
    ("date", "b", "-0044-03-15", None),
    ("timestamp", "b", "-infinity", "'-infinity'"),
    ("bytea", "b", "00ff", "E'\\\\x00ff'"),
    ("bit", "b", "05", None),
    ("time", "b", "12:34:56.000000", None),
    ("money", "b", "1.50", None),
    ("tsvector", "b", "'a'", None),
]
MARIADB = [
    ("int", 7, "7"),
    ("tinyint", True, "1"),
    ("bigint", "18446744073709551615", "18446744073709551615"),
    ("decimal", "-1.10", "-1.10"),
    ("decimal", "1); DROP TABLE x", None),
    ("double", "0.1", "0.1e0"),
    ("double", "1e+300", "1e+300"),
    ("double", "nan", None),
    ("float", "0.5", None),
    ("varchar", "it's ß", "_utf8mb4 X'6974277320c39f'"),
    ("enum", "b", "_utf8mb4 X'62'"),
    ("uuid", "123e4567-e89b-12d3-a456-426655440000", "'123e4567-e89b-12d3-a456-426655440000'"),
    ("uuid", "' OR 1=1 OR '", None),
    ("varbinary", "00ff", "X'00ff'"),
    ("bit", "0501", "261"),
    ("bit", True, "1"),
    ("date", "1969-12-31", "DATE '1969-12-31'"),
    ("datetime", "1969-12-31T23:59:59.999999", "TIMESTAMP '1969-12-31 23:59:59.999999'"),
    ("timestamp", "2026-01-01T00:00:00.500000Z", "FROM_UNIXTIME(1767225600.500000)"),
    ("time", "-12:34:56.000001", "TIME '-12:34:56.000001'"),
    ("point", "x", None),
]


@pytest.mark.parametrize(("kind", "form", "value", "literal"), POSTGRESQL)
def test_a_literal_of_postgresql_is_the_value_or_nothing(
    kind: str, form: str, value: columns.Value, literal: str | None
) -> None:
    assert postgresql.literal(kind, form, value) == literal


@pytest.mark.parametrize(("kind", "value", "literal"), MARIADB)
def test_a_literal_of_mariadb_is_the_value_or_nothing(
    kind: str, value: columns.Value, literal: str | None
) -> None:
    assert binlog.literal(kind, value) == literal


KNOWN = {"id": columns.Column('"id"', "int4", lambda value: f"'{value}'")}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("7", "not a JSON object"),
        ("{", "not a JSON object"),
        ("{}", "not a JSON object"),
        ('{"di":7}', "no column di"),
        ('{"id":[7]}', "of type int4"),
    ],
)
def test_what_is_no_key_of_the_table_is_told(key: str, told: str) -> None:
    with pytest.raises(Terminal, match=told):
        columns.term(key, KNOWN, "table orders")


def test_a_key_without_a_value_is_one_too() -> None:
    assert columns.term('{"id":null}', KNOWN, "") == '("id" IS NULL)'


def shop() -> Source:
    given = {"name": "shop", "uri": "mongodb://db/?replicaSet=rs0", "database": "shop"}
    return Source.model_validate({**given, "collections": ("orders",)})


def test_documents_are_asked_for_by_their_ids_once_each() -> None:
    keys = ["1", '"a"', '{"$oid": "65a1f0000000000000000001"}', "1", "2.5", '{"$numberDecimal": "1.10"}']
    assert conditions(shop(), "orders", keys) == [
        '{"_id": {"$in": [1, 2.5, {"$numberDecimal": "1.10"}]}}',
        '{"_id": {"$in": ["a"]}}',
        '{"_id": {"$in": [{"$oid": "65a1f0000000000000000001"}]}}',
    ]
    assert conditions(shop(), "orders", []) == []


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ([str(n) for n in range(MOST_KEYS + 1)], [MOST_KEYS, 1]),
        ([f'"{n}{"x" * (MOST_BYTES // 2)}"' for n in range(3)], [1, 1, 1]),
    ],
)
def test_a_signal_is_bounded_in_keys_and_bytes(keys: list[str], parts: list[int]) -> None:
    found = conditions(shop(), "orders", keys)
    assert [each.count(",") + 1 for each in found] == parts
    assert all(len(each) < MOST_BYTES + 100 for each in found)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("abc", "is not JSON"),
        (f'"{"x" * MOST_BYTES}"', "more than the 16,000"),
        ("true", "neither a number"),
        ("null", "neither a number"),
        ('{"a": 1}', "neither a number"),
        ('{"$date": "2026-01-01T00:00:00Z"}', "neither a number"),
        ('{"$numberDouble": "NaN"}', "neither a number"),
        ('{"$binary": {"base64": "AP8=","subType": "04"}}', "neither a number"),
    ],
)
def test_a_key_that_cannot_be_asked_for_is_told(key: str, told: str) -> None:
    ask: Callable[[], list[str]] = lambda: conditions(shop(), "orders", [key])  # noqa: E731
    with pytest.raises(Terminal, match=told):
        ask()
