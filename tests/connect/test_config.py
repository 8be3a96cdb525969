from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from cdc_platform.connect.config import connector_config, notifying
from cdc_platform.core.source import MARKERS, SIGNALS, Capture, Source


def source(**changes: object) -> Source:
    declared = {"name": "shop", "uri": "mongodb://u:secret@db/?replicaSet=rs0", "database": "store"}
    return Source.model_validate({**declared, "collections": ("orders", "a.b-c"), **changes})


def test_every_setting_is_text():
    assert all(isinstance(value, str) and value for value in connector_config(source()).values())


def test_nothing_is_lost_or_repeated_by_the_connector():
    config = connector_config(source())
    assert config["exactly.once.support"] == "required"
    assert config["skipped.operations"] == "none"
    assert config["errors.tolerance"] == "none"
    assert config["event.processing.failure.handling.mode"] == "fail"
    assert config["tombstones.on.delete"] == "false"


def test_a_task_that_mongodb_refuses_fails_in_the_end():
    config = connector_config(source())
    assert int(config["errors.max.retries"]) * int(config["retriable.restart.connector.wait.ms"]) == 300_000


def test_the_declared_collections_and_the_markers_are_captured_and_nothing_else():
    patterns = connector_config(source())["collection.include.list"].split(",")
    taken = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    assert [bool(p.fullmatch(n)) for p, n in zip(taken, ("store.orders", "store.a.b-c"), strict=False)] == [
        True
    ] * 2
    assert taken[-2].fullmatch(f"store.{MARKERS}")
    assert taken[-1].fullmatch(f"store.{SIGNALS}")
    for other in ("store.Orders", "store.a_b-c", "store.aXb-c", "storeXorders", "store.orders2"):
        assert not any(pattern.fullmatch(other) for pattern in taken)


def test_topics_of_the_connector_are_those_the_source_names():
    config = connector_config(source(partitions=7))
    assert source().topic("orders") == f"{config['topic.prefix']}.store.orders"
    assert config["topic.creation.default.partitions"] == "7"


def test_images_are_captured_unless_the_source_does_without():
    kept = connector_config(source())
    assert kept["capture.mode"] == "change_streams_update_full_with_pre_image"
    assert kept["capture.mode.full.update.type"] == "post_image"
    looked_up = connector_config(source(capture={"images": "lookup"}))
    assert looked_up["capture.mode"] == "change_streams_update_full"
    assert looked_up["capture.mode.full.update.type"] == "lookup"


def test_it_hears_of_signals_and_tells_of_them_in_a_topic_of_one_partition_but_not_from_its_beginning():
    config = connector_config(source())
    assert config["signal.data.collection"] == f"store.{SIGNALS}"
    assert not [name for name in config if name.startswith("notification")]
    telling = notifying(source())
    assert telling["notification.enabled.channels"] == "sink"
    topic = telling["notification.sink.topic.name"]
    assert topic == "shop.notifications"
    assert re.escape(topic) in config["topic.creation.service.include"].split(",")


def test_what_can_be_tuned_reaches_the_connector():
    tuned = Capture(
        poll_interval_ms=7, batch_size=10, queue_size=20, snapshot_fetch_size=30, snapshot_threads=2
    )
    config = connector_config(source(capture=tuned))
    names = (
        "poll.interval.ms",
        "max.batch.size",
        "max.queue.size",
        "snapshot.fetch.size",
        "snapshot.max.threads",
    )
    assert [config[name] for name in names] == ["7", "10", "20", "30", "2"]


def test_wall_time_is_clamped_into_the_cluster_second():
    (stage,) = json.loads(connector_config(source())["cursor.pipeline"])
    assert list(stage) == ["$addFields"]
    assert "wallTime" in stage["$addFields"]


def test_an_event_loses_first_its_description_and_then_the_document_before():
    config = connector_config(source())
    (stage,) = json.loads(config["cursor.pipeline"])
    kept = stage["$addFields"]
    assert set(kept) == {"wallTime", "updateDescription", "fullDocumentBeforeChange"}
    measured = {name: json.dumps(kept[name]["$cond"][0]) for name in kept if name != "wallTime"}
    assert measured["updateDescription"].count("$bsonSize") == 3
    assert measured["fullDocumentBeforeChange"].count("$bsonSize") == 2
    assert config["cursor.pipeline.order"] == "user_first"


@pytest.mark.parametrize("name", ["a,b", "a b", "naïve", "a+b", ""])
def test_a_name_that_does_not_reach_kafka_unchanged_is_refused(name: str):
    with pytest.raises(ValidationError):
        source(collections=(name,))


def test_names_whose_topics_kafka_cannot_tell_apart_are_refused():
    with pytest.raises(ValidationError, match="differ only in"):
        source(collections=("a.b", "a_b"))


def test_a_queue_smaller_than_a_batch_is_refused():
    with pytest.raises(ValidationError, match="larger than batch_size"):
        Capture(batch_size=100, queue_size=100)
