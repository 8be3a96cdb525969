"""Checks while a service is known to be down. Addresses where nothing listens stand for the services."""

import time
from pathlib import Path

import pytest

from cdc_platform.core.errors import Transient
from cdc_platform.core.masking import masked
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.answering import answered
from cdc_platform.orchestrate.dependency import dependency
from cdc_platform.verify.finding import Check
from cdc_platform.verify.verdict import Cause, Verdict

SOURCE = Source(
    name="shop",
    uri="mongodb://ann:s3cret@127.0.0.1:1/?replicaSet=rs0",
    database="shop",
    collections=tuple(f"t{n}" for n in range(200)),
)
ALL = dict.fromkeys(SOURCE.targets, frozenset(Check))


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


def test_while_kafka_is_down_every_check_of_every_table_is_unknown_at_once(settings: Settings) -> None:
    known_down(settings, "Kafka", "127.0.0.1:1")
    began = time.monotonic()
    found = list(answered(settings, SOURCE, ALL, lambda _: None))
    assert time.monotonic() - began < 2
    assert len(found) == 200 * len(Check)
    assert {(each.verdict, each.cause) for each in found} == {(Verdict.UNKNOWN, Cause.TABLE_UNREADABLE)}
    assert "Kafka is being moved" in found[0].text
    assert "asked again in" in found[0].text


def test_a_service_is_known_by_its_address_without_its_password(settings: Settings, tmp_path: Path) -> None:
    known_down(settings, "MongoDB", masked(SOURCE.uri))
    [kept] = (tmp_path / "dependencies").iterdir()
    assert "s3cret" not in kept.name + kept.read_text()
