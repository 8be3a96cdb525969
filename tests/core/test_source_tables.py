"""Sources whose tables are declared: PostgreSQL, MariaDB, MySQL."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cdc_platform.core.address import address
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.naming import TableId
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source, Wire

URIS = {
    "mongodb": "mongodb://db/",
    "postgresql": "postgresql://ann:s3cret@db:5432",
    "mariadb": "mariadb://ann:s3cret@db:3306",
    "mysql": "mysql://ann:s3cret@db:3306",
}


def declared(engine: str, *tables: str, **more: Any) -> Source:
    given = {"name": "shop", "engine": engine, "uri": URIS[engine], "database": "shop", "tables": tables}
    return Source.model_validate(given | more)


@pytest.mark.parametrize("engine", ["postgresql", "mariadb", "mysql"])
def test_a_declaration_of_tables_is_read_again_as_itself(engine: str) -> None:
    source = declared(
        engine,
        "orders",
        "Order Items",
        "audit_*",
        table_formats={"Order Items": ["iceberg"]},
        partition_tables_by={"orders": {"changelog": ["_ingestion_date"]}},
        columns={"Order Items": {"price": "double"}},
        keys={"Order Items": ["no"], "orders": []},
    )
    assert source.collections == ("orders", "Order_Items")
    assert source.globs == ("audit_*",)
    assert Source.model_validate(source.model_dump()) == source
    assert Source.model_validate(source.model_dump(exclude_unset=True)) == source
    assert source.formats_of("Order_Items") == (Format.ICEBERG,)
    assert source.keys == {"Order_Items": ("no",), "orders": ()}
    assert source.kinds_of("orders") == {Kind.CHANGELOG}
    assert source.kinds_of("Order_Items") == set(Kind)


def test_a_table_of_postgresql_is_in_the_schema_public_unless_it_is_declared_with_another() -> None:
    source = declared("postgresql", "public.orders", "sales.orders", 'sales.o"dd", name', "public.a.b")
    assert source.collections == ("orders", "sales.orders", "sales.o_dd___name", "public.a.b")
    assert [source.table(name) for name in source.collections] == [
        TableId("public", "orders"),
        TableId("sales", "orders"),
        TableId("sales", 'o"dd", name'),
        TableId("public", "a.b"),
    ]
    assert source.topic("orders") == "shop.public.orders"
    assert source.topic("sales.o_dd___name") == "shop.sales.o_dd___name"
    assert source.topic("cdc_markers") == "shop.public.cdc_markers"
    for name in source.collections:
        assert source.known_as(source.table(name)) == name


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
def test_a_table_of_mariadb_and_mysql_is_in_the_database(engine: str) -> None:
    source = declared(engine, "orders", "a.b", "x y", database="my shop")
    assert [source.table(name) for name in source.collections] == [
        TableId("my shop", "orders"),
        TableId("my shop", "a.b"),
        TableId("my shop", "x y"),
    ]
    assert source.topic("x_y") == "shop.my_shop.x_y"
    assert source.known_as(TableId("my shop", "x_y")) is None
    assert source.known_as(TableId("my shop", "other one")) == "other one"


def test_a_character_of_two_utf_16_units_is_two_underscores_as_java_counts() -> None:
    assert declared("mariadb", "a🙂b").collections == ("a__b",)


@pytest.mark.parametrize(
    ("tables", "own"),
    [(("orders", "sales.x"), "public"), (("sales.x", "crm.y"), "sales"), (("sales.*",), "sales")],
)
def test_the_platforms_own_tables_are_in_public_or_else_in_the_first_schema(
    tables: tuple[str, ...], own: str
) -> None:
    source = declared("postgresql", *tables)
    assert source.table("cdc_markers") == TableId(own, "cdc_markers")
    assert source.captured == (*source.collections, "cdc_markers", "cdc_signals")


def test_a_glob_takes_tables_of_its_own_schema() -> None:
    source = declared("postgresql", "s*", "sales.o*")
    assert source.takes("shops")
    assert source.takes("sales.orders")
    assert not source.takes("sales.people")
    assert not source.takes("cdc_signals")
    assert not source.takes("sales.cdc_markers")
    grown = source.with_collections(["shops", "sales.orders", "sales.people"])
    assert grown.collections == ("sales.orders", "shops")


@pytest.mark.parametrize(
    ("engine", "wrong", "told"),
    [
        ("postgresql", {"tables": ["a b", "a,b"]}, "'a b' and 'a,b' would both be known as a_b"),
        ("postgresql", {"tables": ["orders", "public.orders"]}, "named twice: orders"),
        ("mariadb", {"tables": ["a.b", "a_b"]}, "differ only in"),
        ("mariadb", {"tables": ["orders", "orders_changes"]}, "beside orders"),
        ("mariadb", {"tables": [".."]}, "name of a folder"),
        ("mariadb", {"tables": ["cdc_signals"]}, "platform's own"),
        ("postgresql", {"tables": ["sales.cdc_markers"]}, "platform's own"),
        ("postgresql", {"collections": ["orders"]}, "two names of one field"),
        ("postgresql", {"keys": {"people": ["id"]}}, "no collection here: people"),
        ("postgresql", {"keys": {"orders": ["id", "id"]}}, "a column of orders twice"),
        ("postgresql", {"tables": ["schön.x"]}, "other than ASCII characters"),
        ("mariadb", {"tables": ["`x"]}, "begins or ends with a quote"),
        ("mongodb", {"keys": {"orders": ["id"]}}, "has its _id"),
        ("mongodb", {"tables": ["a b"]}, "pattern"),
        ("mongodb", {"database": "a b"}, "database"),
        (
            "postgresql",
            {"capture": {"images": "lookup"}},
            r"engine postgresql has no images \(MongoDB only\)",
        ),
        ("mongodb", {"capture": {"server_id": 7}}, r"no server_id \(mariadb and mysql only\)"),
        ("mysql", {"capture": {"replica_identity": "keep"}}, r"no replica_identity \(postgresql only\)"),
        ("postgresql", {"uri": URIS["mariadb"]}, "begins with postgresql:// or postgres://"),
        ("mysql", {"uri": URIS["mariadb"]}, "begins with mysql://"),
        ("postgresql", {"uri": "postgresql://ann:s3c/ret@db"}, "port is no number"),
        ("postgresql", {"uri": "postgresql://ann:s3cret@db/crm"}, "another database"),
        ("postgresql", {"uri": "postgresql://db:5432"}, "one user and one server"),
        ("postgresql", {"uri": "postgresql://ann:s3cret@db?sslcert=x"}, "sslcert is not known"),
        ("mariadb", {"uri": "mariadb://ann:s3cret@db?sslmode=on"}, "sslmode is one of disable, trust"),
        ("mariadb", {"wire": "protobuf"}, "wire"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_with_the_reason_and_without_the_password(
    engine: str, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told) as refusal:
        declared(engine, "orders", **wrong)
    assert "s3c" not in str(refusal.value)


def test_events_are_written_as_avro_unless_the_source_says_otherwise_or_is_mongodb() -> None:
    assert declared("mongodb", "a").written_as is Wire.JSON
    assert declared("mariadb", "a").written_as is Wire.AVRO
    assert declared("mongodb", "a", wire="avro").written_as is Wire.AVRO
    assert declared("mysql", "a", wire="json_with_schema").written_as is Wire.JSON_WITH_SCHEMA


def test_an_address_is_read_with_its_password_decoded_and_never_shown() -> None:
    found = address(Engine.MARIADB, "mariadb://ann:s3%40c%2Fr@db?sslmode=trust")
    assert (found.host, found.port, found.user, found.password) == ("db", 3306, "ann", "s3@c/r")
    assert found.sslmode == "trust"
    assert "s3" not in repr(found)
    assert str(found) == "db:3306"


def test_a_uri_that_dagster_fills_in_later_is_looked_at_then() -> None:
    assert declared("postgresql", "a", uri="{{ env.SHOP_URI }}").uri == "{{ env.SHOP_URI }}"


def test_a_slot_has_a_name_that_postgresql_takes_and_a_connector_one_server_id() -> None:
    short, long = declared("postgresql", "a"), declared("postgresql", "a", name="s" * 63)
    assert short.slot == "cdc_shop"
    assert len(long.slot) <= 63
    assert long.slot != declared("postgresql", "a", name="s" * 62).slot
    assert short.server_id == declared("mysql", "b").server_id
    assert 1 <= long.server_id < 2**32
    assert declared("mysql", "a", capture={"server_id": 7}).server_id == 7
