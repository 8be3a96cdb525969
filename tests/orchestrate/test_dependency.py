"""A service that is down is answered for at once, and tried again with more and more patience."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc_platform.core.errors import Conflict, Terminal, Transient
from cdc_platform.core.settings import Settings
from cdc_platform.orchestrate.dependency import Dependency, Down, dependency


class Service:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.error:
            raise self.error
        return "here"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def kafka(settings: Settings) -> Dependency:
    return dependency(settings, "Kafka", "127.0.0.1:1")


@pytest.fixture
def service() -> Service:
    return Service()


GONE = Transient("no broker", where="127.0.0.1:1", remedy="start it")


def wait(settings: Settings, seconds: float) -> None:
    """As if so much time had passed since the last attempt."""
    [path] = (settings.state_dir / "dependencies").glob("*.json")
    earlier = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    path.write_text(re.sub(r'"opened_at":"[^"]*"', f'"opened_at":"{earlier}"', path.read_text()))


def fail(kafka: Dependency, service: Service) -> None:
    service.error = GONE
    with pytest.raises(Transient, match="no broker"):
        kafka.call(service)


def test_a_service_that_answers_is_asked_each_time(kafka: Dependency, service: Service) -> None:
    assert [kafka.call(service) for _ in range(3)] == ["here"] * 3
    assert service.asked == 3


def test_after_a_failure_nobody_waits_for_it_again_and_all_are_told_why(
    kafka: Dependency, service: Service, settings: Settings
) -> None:
    fail(kafka, service)
    for _ in range(3):
        with pytest.raises(Down, match=r"Kafka does not answer since .* UTC: no broker") as told:
            kafka.call(service)
    assert service.asked == 1
    assert told.value.where == "127.0.0.1:1"
    assert re.fullmatch(r"start it; it is asked again in [45] s", told.value.remedy)


def test_another_process_knows_it_too(kafka: Dependency, service: Service, settings: Settings) -> None:
    fail(kafka, service)
    with pytest.raises(Down, match="no broker"):
        dependency(settings, "Kafka", "127.0.0.1:1").call(service)
    assert dependency(settings, "Kafka", "127.0.0.1:2").call(Service()) == "here"


def test_it_is_tried_again_after_a_time_that_doubles_up_to_a_minute(
    kafka: Dependency, service: Service, settings: Settings
) -> None:
    for pause in (5, 10, 20, 40, 60, 60):
        fail(kafka, service)
        wait(settings, pause - 1)
        with pytest.raises(Down):
            kafka.call(service)
        wait(settings, pause + 1)
    assert service.asked == 6


def test_it_is_asked_as_before_once_it_answers(
    kafka: Dependency, service: Service, settings: Settings
) -> None:
    for _ in range(3):
        fail(kafka, service)
        wait(settings, 60)
    service.error = None
    assert [kafka.call(service) for _ in range(2)] == ["here"] * 2
    fail(kafka, service)
    wait(settings, 6)
    fail(kafka, service)


@pytest.mark.parametrize("error", [Terminal("no such topic"), Conflict("another writer"), KeyError("defect")])
def test_a_refusal_is_an_answer(kafka: Dependency, service: Service, error: Exception) -> None:
    service.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            kafka.call(service)
    assert service.asked == 3


def test_a_lost_or_broken_state_costs_one_attempt(
    kafka: Dependency, service: Service, settings: Settings
) -> None:
    fail(kafka, service)
    [path] = (settings.state_dir / "dependencies").glob("*.json")
    path.write_text("{")
    fail(kafka, service)
    with pytest.raises(Down):
        kafka.call(service)
