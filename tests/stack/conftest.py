"""One stack of real processes for all tests that need it, and sources in it that leave nothing behind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import deploy
from cdc_platform.connect.status import Progress
from cdc_platform.core.source import Source
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack

Mongo = MongoClient[dict[str, Any]]
Declare = Callable[..., Source]
"""``declare("orders", …, partitions=1)``: a source of these collections, in a database of its own."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MongoDB, Kafka and Connect on free ports. All of it ends with the session, also when that is killed."""
    listeners = ("mongodb", "postgresql", "mariadb", "registry", "kafka", "kafka_controller", "connect")
    settings = StackSettings(**{f"{name}_port": 0 for name in listeners})  # type: ignore[arg-type]
    with Stack.attached(tmp_path_factory.mktemp("stack"), settings, ephemeral=True) as stack:
        stack.up()
        yield stack


@pytest.fixture(scope="session")
def mongo(stack: Stack) -> Iterator[Mongo]:
    with MongoClient[dict[str, Any]](stack.endpoints.mongodb_uri) as client:
        yield client


@pytest.fixture(scope="session")
def postgresql_uri(stack: Stack) -> str:
    """PostgreSQL, started when the first test asks for it: `postgresql://user:password@host:port/shop`."""
    return stack.up(services=("postgresql",)).postgresql_uri


@pytest.fixture(scope="session")
def mariadb_uri(stack: Stack) -> str:
    """MariaDB, started when the first test asks for it: `mariadb://user:password@host:port/shop`."""
    return stack.up(services=("mariadb",)).mariadb_uri


@pytest.fixture(scope="session")
def registry_url(stack: Stack) -> str:
    """The schema registry, started when the first test asks for it: the URL of Confluent's API."""
    return stack.up(services=("registry",)).registry_url


@pytest.fixture(scope="session")
def connect(stack: Stack) -> Iterator[ConnectClient]:
    with ConnectClient(stack.endpoints.connect_url) as client:
        yield client


@pytest.fixture
def declare(stack: Stack, mongo: Mongo, connect: ConnectClient) -> Iterator[Declare]:
    """Declares sources of unique names. After the test connector, database and topics are gone."""
    declared: list[Source] = []

    def declaration(*collections: str, **settings: Any) -> Source:
        name = f"t{uuid.uuid4().hex[:12]}"
        source = Source(
            name=name, uri=stack.endpoints.mongodb_uri, database=name, collections=collections, **settings
        )
        declared.append(source)
        return source

    yield declaration
    for source in declared:
        if source.connector in connect.list():
            connect.delete(source.connector)
        mongo.drop_database(source.database)
        _delete_topics(stack.endpoints.kafka_bootstrap, source)


@pytest.fixture
def capture(declare: Declare, connect: ConnectClient) -> Declare:
    """As ``declare``, with the connector deployed and streaming: what a test changes is not read twice."""

    def captured(*collections: str, **settings: Any) -> Source:
        source = declare(*collections, **settings)
        deploy(source, connect)
        eventually(lambda: connect.progress(source.connector) is Progress.STREAM)
        return source

    return captured


def eventually(condition: Callable[[], bool], within: float = 60) -> None:
    """Return once the condition holds; fail after ``within`` seconds."""
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda holds: not holds),
        stop=tenacity.stop_after_delay(within),
        wait=tenacity.wait_fixed(0.05),
    )(condition)


def _delete_topics(bootstrap: str, source: Source) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [t for t in admin.list_topics(timeout=10).topics if source.name in t.split(".")]
    if topics:
        for outcome in admin.delete_topics(topics).values():
            outcome.result(timeout=10)
