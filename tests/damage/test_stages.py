"""At which hand-over a key went wrong, where it is not the lake alone that tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Offsets, Stream
from cdc_platform.core.ports import LogReader
from cdc_platform.replicate import replicate
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.stages import stages
from cdc_platform.verify.verdict import Stage, Verdict
from tests.damage.damages import DAMAGES
from tests.damage.lake import TOPIC, Lake, key_of, row
from tests.replicate.memory_log import MemoryLog


def content(lake: Lake) -> Finding:
    found = {each.check: each for each in lake.checked(Format.DELTA)[Format.DELTA]}
    return found[Check.CONTENT]


def told(finding: Finding) -> dict[str, str]:
    assert finding.verdict is Verdict.FAIL, finding.text
    (found,) = [fact.value for fact in finding.facts if fact.name == "stages"]
    assert isinstance(found, dict)
    return found


def test_what_the_topic_never_heard_of_went_wrong_before_it(lake: Lake) -> None:
    lake.source.put(row(4, name="changed in silence"), unheard=True)
    lake.source.put(row(40, name="made in silence"), unheard=True)
    del lake.source.there[6]
    found = content(lake)
    assert told(found) == dict.fromkeys(map(key_of, (4, 6, 40)), Stage.TOPIC.value)
    assert "does not say what the source has, and the changelog has what Kafka holds" in found.text
    assert "none of Kafka's records says what the source has" in found.text


@pytest.mark.parametrize(
    ("damage", "stage"),
    [
        ("both tables wrong", Stage.UNKNOWN),
        ("both tables lack it", Stage.UNKNOWN),
        ("row lost", Stage.CURRENT),
    ],
)
def test_what_kafka_no_longer_holds_is_unknown_and_not_guessed(lake: Lake, damage: str, stage: Stage) -> None:
    (key,) = DAMAGES[damage].do(lake.tables(Format.DELTA))
    for partition in range(2):
        lake.log.retain_from(TOPIC, partition, 12)
    found = content(lake)
    assert told(found) == {key: stage}
    beyond = "beyond the changelog nothing can be told, as Kafka's records were read from"
    assert (beyond in found.text) == (stage is Stage.UNKNOWN)


def test_a_fold_that_differs_is_told_whatever_kafka_holds(lake: Lake) -> None:
    DAMAGES["row lost"].do(lake.tables(Format.DELTA))
    for partition in range(2):
        lake.log.retain_from(TOPIC, partition, 12)
    found = {each.check: each for each in lake.checked(Format.DELTA)[Format.DELTA]}
    fold = found[Check.CDF_INTEGRITY]
    assert told(fold) == {key_of(7): Stage.CURRENT}
    assert "leads to another row than the current table has; beyond the changelog" in fold.text


def test_a_record_that_became_a_dead_letter_is_named(lake: Lake) -> None:
    lake.log.write(TOPIC, 1, (lake.source.table.updated(**{"id": 7})[0], b"{no event"), None)
    replicate(lake.replicas[Format.DELTA], lake.log)
    lake.source.put(row(7, name="as the source has it"), unheard=True)
    found = content(lake)
    assert told(found) == {key_of(7): Stage.CHANGELOG}
    assert "Kafka's 1:18 is a dead letter" in found.text


def test_a_topic_that_cannot_be_read_leaves_the_verdict_and_says_why(lake: Lake) -> None:
    (key,) = DAMAGES["both tables wrong"].do(lake.tables(Format.DELTA))
    lake.log.stop(TOPIC, Transient("no broker has this partition"))
    found = content(lake)
    assert told(found) == {key: Stage.UNKNOWN}
    assert "No broker has this partition" in found.text


@dataclass(slots=True)
class Watched:
    """A log that remembers from where it was read."""

    log: MemoryLog
    starts: list[Offsets] = field(default_factory=list)

    def reader(self, starts: Mapping[Stream, Offsets]) -> LogReader:
        self.starts += starts.values()
        return self.log.reader(starts)

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)


def traced(lake: Lake, key: str, newest: int = 100_000) -> tuple[Watched, tuple[Stage, str] | None]:
    watched = Watched(lake.log)
    topic = replace(lake.topic(Format.DELTA, newest), log=watched)  # type: ignore[arg-type]
    opened = partial(lake.opened, Format.DELTA)
    return watched, stages([key], opened(Kind.CHANGELOG), opened(Kind.CURRENT), topic)[key]


def test_kafka_is_read_in_the_key_s_partition_from_its_last_row_on(lake: Lake) -> None:
    (key,) = DAMAGES["event changed"].do(lake.tables(Format.DELTA))
    watched, found = traced(lake, key)
    assert found == (Stage.CHANGELOG, "the changelog has 1:6 otherwise than Kafka")
    assert watched.starts == [{0: 16, 1: 6}]


def test_records_older_than_the_newest_offsets_are_read_one_by_one(lake: Lake) -> None:
    (key,) = DAMAGES["event changed"].do(lake.tables(Format.DELTA))
    watched, found = traced(lake, key, newest=4)
    assert found == (Stage.CHANGELOG, "the changelog has 1:6 otherwise than Kafka")
    assert watched.starts == [{0: 16, 1: 14}, {0: 16, 1: 6}]


def test_nothing_is_said_of_a_key_that_is_right_everywhere(lake: Lake) -> None:
    assert traced(lake, key_of(5))[1] is None
    assert traced(lake, "nobody's")[1] is None
