"""The connectors of PostgreSQL, MariaDB and MySQL, as Kafka Connect takes them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cdc_platform.connect.config import Services, connector_config
from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Capture, Source

SQL = ("postgresql", "mariadb", "mysql")
CLASSES = {
    "postgresql": "io.debezium.connector.postgresql.PostgresConnector",
    "mariadb": "io.debezium.connector.mariadb.MariaDbConnector",
    "mysql": "io.debezium.connector.mysql.MySqlConnector",
}


def declared(engine: str, *tables: str, options: str = "", **more: Any) -> Source:
    uri = f"{engine}://ann:s3%40cret@db:1234{options}"
    given = {
        "name": "shop",
        "engine": engine,
        "uri": uri,
        "database": "shop",
        "tables": tables or ("orders",),
    }
    return Source.model_validate(given | more)


def taken(config: dict[str, str], table: str) -> bool:
    """As Debezium looks: case is ignored unless an expression says otherwise."""
    patterns = config["table.include.list"].split(",")
    return any(re.fullmatch(pattern, table, re.IGNORECASE) for pattern in patterns)


@pytest.mark.parametrize("engine", SQL)
def test_nothing_is_lost_repeated_or_rounded_by_the_connector(engine: str) -> None:
    config = connector_config(declared(engine))
    assert all(isinstance(value, str) and value for value in config.values())
    assert config["connector.class"] == CLASSES[engine]
    expected = {
        "exactly.once.support": "required",
        "skipped.operations": "none",
        "errors.tolerance": "none",
        "event.processing.failure.handling.mode": "fail",
        "tombstones.on.delete": "false",
        "provide.transaction.metadata": "true",
        "decimal.handling.mode": "string" if engine == "postgresql" else "precise",
        "time.precision.mode": "microseconds",
        "snapshot.mode": "initial",
    }
    assert {name: config[name] for name in expected} == expected
    assert int(config["errors.max.retries"]) * int(config["retriable.restart.connector.wait.ms"]) == 300_000


@pytest.mark.parametrize("engine", SQL)
def test_the_connector_is_told_who_reads_which_server(engine: str) -> None:
    config = connector_config(declared(engine))
    names = ("database.hostname", "database.port", "database.user", "database.password")
    assert [config[name] for name in names] == ["db", "1234", "ann", "s3@cret"]


def test_postgresql_reads_its_own_slot_and_publication_which_it_does_not_make() -> None:
    config = connector_config(declared("postgresql", options="/shop?sslmode=verify-full"))
    assert (config["slot.name"], config["publication.name"]) == ("cdc_shop", "cdc_shop")
    assert config["publication.autocreate.mode"] == "disabled"
    assert config["database.dbname"] == "shop"
    assert config["database.sslmode"] == "verify-full"
    assert config["signal.data.collection"] == "public.cdc_signals"
    assert "database.sslmode" not in connector_config(declared("postgresql"))


@pytest.mark.parametrize(("engine", "plain"), [("mariadb", "disable"), ("mysql", "preferred")])
def test_a_binlog_is_read_under_an_id_of_its_own_and_its_tables_history_kept(engine: str, plain: str) -> None:
    services = Services(kafka_bootstrap="kafka:9092")
    config = connector_config(declared(engine, database="my shop"), services)
    assert config["database.server.id"] == str(declared(engine).server_id)
    assert config["schema.history.internal.kafka.bootstrap.servers"] == "kafka:9092"
    assert config["schema.history.internal.kafka.topic"] == "shop.schema_history"
    assert config["schema.history.internal.store.only.captured.tables.ddl"] == "false"
    assert config["database.ssl.mode"] == plain
    assert re.fullmatch(config["database.include.list"], "my shop", re.IGNORECASE)
    assert not re.fullmatch(config["database.include.list"], "My shop", re.IGNORECASE)
    assert config["signal.data.collection"] == "my shop.cdc_signals"


@pytest.mark.parametrize("engine", SQL)
def test_tables_are_taken_by_their_exact_names_whatever_is_in_them(engine: str) -> None:
    names = ["orders", 'Or"der, Items:1;2', "a.b" if engine != "postgresql" else "public.a.b"]
    names += ["näme🙂"] if engine != "postgresql" else []
    config = connector_config(declared(engine, *names, "audit_*"))
    schema = "public" if engine == "postgresql" else "shop"
    real = ["orders", 'Or"der, Items:1;2', "a.b", *names[3:], "audit_1", "cdc_markers", "cdc_signals"]
    assert [name for name in real if not taken(config, f"{schema}.{name}")] == []
    others = ["Orders", "orders2", 'or"der, items:1;2', "aXb", "NÄME🙂", "Audit_1", "audit"]
    assert [name for name in others if taken(config, f"{schema}.{name}")] == []
    assert not taken(config, "other.orders")


def test_a_glob_of_a_schema_takes_tables_of_it_and_finding_one_changes_nothing() -> None:
    source = declared("postgresql", "orders", "sales.o*")
    config = connector_config(source)
    assert taken(config, "sales.orders")
    assert not taken(config, "public.offers")
    assert not taken(config, "sales.people")
    assert connector_config(source.with_collections(["sales.orders"])) == config


@pytest.mark.parametrize("engine", SQL)
def test_a_declared_key_is_that_of_its_table_and_an_empty_one_of_none(engine: str) -> None:
    keys = {"orders": ["day", "no, of"], "log": []}
    config = connector_config(declared(engine, "orders", "log", keys=keys))
    table, _, columns = config["message.key.columns"].partition(":")
    schema = "public" if engine == "postgresql" else "shop"
    assert table.startswith("(?-i)")  # Java's; Python has no such flag
    assert re.fullmatch(table.removeprefix("(?-i)"), f"{schema}.orders")
    day, number = columns.split(",")
    assert re.fullmatch(day, "day")
    assert re.fullmatch(number, "no, of")
    assert ";" not in config["message.key.columns"]
    assert "message.key.columns" not in connector_config(declared(engine, "log", keys={"log": []}))


def test_tables_that_differ_in_case_alone_are_two() -> None:
    config = connector_config(declared("postgresql", "orders", "Orders"))
    assert taken(config, "public.Orders")
    assert not taken(config, "public.ORDERS")


@pytest.mark.parametrize("engine", [*SQL, "mongodb"])
def test_every_wire_format_has_its_converter_for_keys_and_values(engine: str) -> None:
    def converter(wire: str, **services: Any) -> dict[str, str]:
        given = {"uri": "mongodb://db/"} if engine == "mongodb" else {}
        config = connector_config(declared(engine, wire=wire, **given), Services(**services))
        sides = [
            {n.removeprefix(side): v for n, v in config.items() if n.startswith(f"{side}.converter")}
            for side in ("key", "value")
        ]
        assert sides[0] == sides[1]
        return sides[0]

    json = "org.apache.kafka.connect.json.JsonConverter"
    kept = {".converter.replace.null.with.default": "false"}
    if engine == "mongodb":
        assert converter("json") == {".converter": json, ".converter.schemas.enable": "false"} | kept
    else:
        with pytest.raises(ValueError, match="does not tell the types"):
            converter("json")
    assert converter("json_with_schema") == {".converter": json, ".converter.schemas.enable": "true"} | kept
    apicurio = converter("avro", registry_url="http://registry:8080/apis/ccompat/v7")
    assert apicurio[".converter"] == "io.apicurio.registry.utils.converter.AvroConverter"
    assert apicurio[".converter.apicurio.registry.url"] == "http://registry:8080/apis/registry/v2"
    assert apicurio[".converter.apicurio.registry.as-confluent"] == "true"
    assert converter("avro", registry_url="http://registry:8081", avro_converter="confluent") == {
        ".converter": "io.confluent.connect.avro.AvroConverter",
        ".converter.schema.registry.url": "http://registry:8081",
        ".converter.auto.register.schemas": "true",
        ".converter.ignore.default.for.nullables": "true",
    }


def test_apicurios_converter_needs_apicurios_registry() -> None:
    with pytest.raises(Terminal) as refusal:
        connector_config(declared("mariadb"), Services(registry_url="http://registry:8081"))
    assert "CDC_CONNECT_AVRO_CONVERTER=confluent" in refusal.value.remedy


def test_the_worker_may_reach_the_services_by_other_addresses() -> None:
    plain = Settings(kafka_bootstrap="k:1", registry_url="http://r:1/apis/ccompat/v7")
    assert Services.of(plain) == Services("k:1", "http://r:1/apis/ccompat/v7", "apicurio")
    inside = plain.model_copy(
        update={"connect_kafka_bootstrap": "kafka:2", "connect_registry_url": "http://registry:2"}
    )
    assert Services.of(inside) == Services("kafka:2", "http://registry:2", "apicurio")


def test_what_can_be_tuned_reaches_the_connector() -> None:
    config = connector_config(declared("mysql", capture=Capture(snapshot_fetch_size=7, server_id=42)))
    assert config["snapshot.fetch.size"] == "7"
    assert config["snapshot.max.threads"] == "1"
    assert config["database.server.id"] == "42"
