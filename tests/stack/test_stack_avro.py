"""What the local stack's Connect offers: a connector for each engine, and Avro in Confluent's wire format."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator

import fastavro
import httpx
import orjson
import psycopg
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.local.stack import Stack
from tests.stack.topics import read

pytestmark = pytest.mark.stack

CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"


@pytest.fixture
def table(postgresql_uri: str) -> Iterator[str]:
    """A table with one row, and a connector's name; both, and the connector's slot, are gone afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql_uri, autocommit=True) as connection:
        connection.execute(f"create table {name} (id int primary key, v text)".encode())
        connection.execute(f"insert into {name} values (1, 'ß')".encode())
        yield name
        connection.execute(f"drop table {name}".encode())
        connection.execute(f"drop publication if exists {name}".encode())
        slots = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s"
        connection.execute(slots, (name,))


def test_connect_offers_a_connector_for_each_engine(stack: Stack) -> None:
    url = f"{stack.endpoints.connect_url}/connector-plugins?connectorsOnly=false"
    offered = {plugin["class"] for plugin in httpx.get(url, trust_env=False).raise_for_status().json()}
    assert {
        "io.debezium.connector.mongodb.MongoDbConnector",
        "io.debezium.connector.postgresql.PostgresConnector",
        "io.debezium.connector.mariadb.MariaDbConnector",
        "io.debezium.connector.mysql.MySqlConnector",
        CONVERTER,
    } <= offered


def test_a_row_comes_as_avro_that_the_registry_has_the_schema_of(
    stack: Stack, connect: ConnectClient, table: str, postgresql_uri: str, registry_url: str
) -> None:
    connect.apply(table, {**capture(postgresql_uri, table), **avro(registry_url)})
    try:
        record = read(stack.endpoints.kafka_bootstrap, f"{table}.public.{table}", 1)[0]
    finally:
        connect.delete(table)
    value = record.value
    assert value[:1] == b"\0"
    known = int.from_bytes(value[1:5], "big")
    answer = httpx.get(f"{registry_url}/schemas/ids/{known}", trust_env=False).raise_for_status()
    schema = fastavro.parse_schema(orjson.loads(answer.json()["schema"]))
    event = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert isinstance(event, dict)
    assert event["after"] == {"id": 1, "v": "ß"}


def capture(postgresql_uri: str, table: str) -> dict[str, str]:
    parts = httpx.URL(postgresql_uri)
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "exactly.once.support": "required",
        "tasks.max": "1",
        "topic.prefix": table,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
        "database.hostname": parts.host,
        "database.port": str(parts.port),
        "database.user": parts.username,
        "database.password": parts.password,
        "database.dbname": parts.path.strip("/"),
        "plugin.name": "pgoutput",
        "slot.name": table,
        "publication.name": table,
        "publication.autocreate.mode": "filtered",
        "table.include.list": f"public.{table}",
        "schema.name.adjustment.mode": "avro",
    }


def avro(registry_url: str) -> dict[str, str]:
    settings = {
        "url": registry_url.replace("/apis/ccompat/v7", "/apis/registry/v2"),
        "auto-register": "true",
        "find-latest": "true",
        "as-confluent": "true",
        "headers.enabled": "false",
        "use-id": "contentId",
    }
    configuration: dict[str, str] = {}
    for side in ("key", "value"):
        configuration[f"{side}.converter"] = CONVERTER
        for name, value in settings.items():
            configuration[f"{side}.converter.apicurio.registry.{name}"] = value
    return configuration
