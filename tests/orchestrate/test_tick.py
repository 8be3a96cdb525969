"""Ticks of the sensor while a service does not answer. Nothing listens at the addresses."""

import time
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.core.errors import Transient
from cdc_platform.core.masking import masked
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.dependency import dependency
from cdc_platform.orchestrate.sensor import keep_draining

SOURCE = Source(name="shop", uri="mongodb://127.0.0.1:1/", database="shop", collections=("orders", "audit_*"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path, lake_root=tmp_path / "lake", kafka_bootstrap="127.0.0.1:1", kafka_seconds=1
    )


def known_down(settings: Settings, name: str, address: str) -> None:
    def refuses() -> None:
        raise Transient(f"{name} is being moved", where=address, remedy="wait")

    with pytest.raises(Transient):
        dependency(settings, name, address).call(refuses)


def test_a_tick_is_skipped_at_once_with_the_reason_of_each_service_that_is_down(settings: Settings) -> None:
    known_down(settings, "Kafka", "127.0.0.1:1")
    known_down(settings, "MongoDB", masked(SOURCE.uri))
    began = time.monotonic()
    with dg.DagsterInstance.ephemeral() as instance:
        ticked = keep_draining(SOURCE, settings)(dg.build_sensor_context(instance))
    assert time.monotonic() - began < 2
    assert isinstance(ticked, dg.SkipReason)
    said = ticked.skip_message or ""
    assert "Kafka does not answer since" in said
    assert "Kafka is being moved" in said
    assert "nobody looks at the source's collections: MongoDB does not answer since" in said
    assert "asked again in" in said
