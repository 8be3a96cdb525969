"""A change in MongoDB is readable from Kafka, through this stack, at any size that MongoDB takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from confluent_kafka import Consumer
from pymongo import MongoClient
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Endpoints, Stack

pytestmark = pytest.mark.stack

MB = 1024 * 1024


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    Retrying(
        stop=stop_after_delay(timeout_s), wait=wait_fixed(0.1), retry=retry_if_result(lambda met: not met)
    )(condition)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    settings = StackSettings(mongodb_port=0, kafka_port=0, kafka_controller_port=0, connect_port=0)
    with Stack.attached(tmp_path, settings) as attached:
        attached.up()
        yield attached


def capture_shop(endpoints: Endpoints) -> None:
    """Create the collection with images and the connector over it; return when its task runs."""
    with MongoClient[dict[str, Any]](endpoints.mongodb_uri) as client:
        client.shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    config = {
        "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
        "mongodb.connection.string": endpoints.mongodb_uri,
        "topic.prefix": "t",
        "collection.include.list": "shop.orders",
        "capture.mode": "change_streams_update_full_with_pre_image",
        "capture.mode.full.update.type": "post_image",
        "exactly.once.support": "required",
        "tasks.max": "1",
        "poll.interval.ms": "50",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
    }
    url = f"{endpoints.connect_url}/connectors/shop"
    httpx.put(f"{url}/config", json=config, timeout=60).raise_for_status()
    wait_until(lambda: is_running(url))


def is_running(url: str) -> bool:
    response = httpx.get(f"{url}/status", timeout=30)
    return response.is_success and [task["state"] for task in response.json()["tasks"]] == ["RUNNING"]


def read(endpoints: Endpoints, count: int) -> list[dict[str, Any]]:
    """The first `count` events, committed ones only."""
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 128 * MB,
            "receive.message.max.bytes": 300 * MB,
            "allow.auto.create.topics": False,
        }
    )
    events: list[dict[str, Any]] = []
    consumer.subscribe(["t.shop.orders"])

    def enough() -> bool:
        message = consumer.poll(1.0)
        if message is not None and not message.error() and message.value():
            events.append(orjson.loads(message.value()))
        return len(events) >= count

    try:
        wait_until(enough, 120)
    finally:
        consumer.close()
    return events


def test_a_change_arrives_with_its_images_before_and_after_a_restart(stack: Stack) -> None:
    endpoints = stack.endpoints
    capture_shop(endpoints)
    with MongoClient[dict[str, Any]](endpoints.mongodb_uri) as client:
        client.shop.orders.insert_one({"_id": 0})
        read(endpoints, 1)  # what comes later is streamed; this one may have come by the snapshot
        client.shop.orders.insert_one({"_id": 1, "total": 7})
        client.shop.orders.update_one({"_id": 1}, {"$set": {"total": 8}})
    first = read(endpoints, 2)
    assert [event["op"] for event in first] == ["c", "u"]
    assert orjson.loads(first[1]["before"]) == {"_id": 1, "total": 7}
    assert orjson.loads(first[1]["after"]) == {"_id": 1, "total": 8}

    stack.down()
    assert stack.up() == endpoints
    with MongoClient[dict[str, Any]](endpoints.mongodb_uri) as client:
        client.shop.orders.delete_one({"_id": 1})
    assert [event["op"] for event in read(endpoints, 1)] == ["d"]


def test_a_document_as_large_as_mongodb_takes_arrives_whole(stack: Stack) -> None:
    """Quotes, which JSON escapes twice inside the envelope, make a much larger event of it."""
    endpoints = stack.endpoints
    capture_shop(endpoints)
    text = 'a "quoted" word, ' * (MB * 16 // 17 - 1000)
    with MongoClient[dict[str, Any]](endpoints.mongodb_uri) as client:
        client.shop.orders.insert_one({"_id": 1, "text": text})
    event = read(endpoints, 1)[0]
    assert orjson.loads(event["after"])["text"] == text
