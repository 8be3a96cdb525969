"""Dead letters and replays under SIGKILL: real processes, and records that cannot be decoded among Debezium's
events.

Each undecodable record must be exactly one letter and every other one exactly one row, whatever was killed
where; an interrupted replay is simply done again.
"""

from __future__ import annotations

import base64
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import orjson
import polars as pl
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format, Kind
from cdc_platform.local.stack import Stack
from cdc_platform.replicate import Failure
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Mongo
from tests.stack.crash import oracle
from tests.stack.crash.poison import Place, Poison
from tests.stack.crash.processes import Children, children
from tests.stack.crash.shopping import QUICK, Shopping, captured, files
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

SEED = 20261121
TABLE = "orders"
PATIENT = QUICK.model_copy(update={"batch_rows": 2_000, "dead_in_a_row": 20_000})


@pytest.fixture(scope="module")
def shopping(
    stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shopping]:
    """A captured shop of its own: its topics are not only Debezium's."""
    with captured(stack, mongo, connect, SEED, tmp_path_factory.mktemp("deploy")) as shopping:
        yield shopping


@pytest.fixture(scope="module")
def poison(shopping: Shopping, stack: Stack) -> Poison:
    poison = Poison(stack.endpoints.kafka_bootstrap, random.Random(SEED))
    poison.write(shopping.source.topic(TABLE), 40)
    return poison


@pytest.fixture(params=[Format.DELTA, pytest.param(Format.ICEBERG, marks=pytest.mark.matrix)])
def lake(shopping: Shopping, tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    return shopping.lake(tmp_path, PATIENT).declared(formats=(request.param,))


@pytest.fixture
def processes(lake: Lake, tmp_path: Path) -> Iterator[Children]:
    with children(lake.source, lake.settings, tmp_path) as started:
        yield started


def letters(lake: Lake) -> pl.DataFrame:
    """Place, revision and state of every row of the table of letters, by its format's own reader."""
    table = files(lake, TABLE, "dead_letters", *lake.source.formats)
    rows = table.rows().select("_kafka_partition", "_kafka_offset", "revision", "state").collect()
    return rows.rename({"_kafka_partition": "partition", "_kafka_offset": "offset"})


def places(rows: pl.DataFrame) -> list[Place]:
    return sorted(rows.select("partition", "offset").iter_rows())


def catch_up(lake: Lake) -> None:
    for outcome in lake.drain(TABLE):
        assert not isinstance(outcome, Failure), outcome.error


def assert_whole(lake: Lake, poison: Poison, *, repaired: bool = False) -> None:
    """Every record is one row or one letter; ``repaired``: those that can be are both, and settled."""
    topic = lake.source.topic(TABLE)
    bad, mended = poison.places[topic], set(poison.repairs[topic]) if repaired else set()
    rows = letters(lake)
    assert places(rows.filter(revision=0)) == sorted(bad), "each of them is kept, once"
    assert places(rows.filter(state="replayed")) == sorted(mended)
    expected = oracle.delivered(lake.settings.kafka_bootstrap, topic)
    without = pl.DataFrame(sorted(bad - mended), schema=oracle.OFFSETS, orient="row")
    expected = expected.join(without, on=["partition", "offset"], how="anti")
    found = oracle.held(files(lake, TABLE, Kind.CHANGELOG, *lake.source.formats))
    assert not (differing := oracle.difference(expected, found)), str(differing)
    for kind in Kind:
        assert not oracle.steps_back(files(lake, TABLE, kind, *lake.source.formats))
    result = lake.prove(TABLE)
    assert (result.verdict, result.differing) == (Verdict.FAIL, ()), result.text
    assert f"{len(bad - mended)} dead letters" in result.text


@pytest.mark.parametrize("point", ["after_letters", "before_commit:changelog", "after_commit:changelog"])
def test_a_run_killed_around_its_letters_keeps_each_of_them_once(
    lake: Lake, processes: Children, poison: Poison, shopping: Shopping, point: str
) -> None:
    shopping.burst()
    killed = processes.start("-m", "tests.stack.crash.writer", "--once", "--table", TABLE, CDC_CRASH_AT=point)
    assert killed.ended() == -signal.SIGKILL, killed.output
    kept = letters(lake).height
    assert kept
    print(f"{point}: {kept} letters were kept when it was killed")
    catch_up(lake)
    assert_whole(lake, poison)


@pytest.mark.parametrize("point", ["before_replay:changelog", "after_replay:changelog", "before_settling"])
def test_a_replay_of_letters_that_is_killed_is_made_good_by_doing_it_again(
    lake: Lake, processes: Children, poison: Poison, tmp_path: Path, point: str
) -> None:
    catch_up(lake)
    topic = lake.source.topic(TABLE)
    repairs = {f"{p}:{o}": base64.b64encode(v).decode() for (p, o), v in poison.repairs[topic].items()}
    (tmp_path / "repairs.json").write_bytes(orjson.dumps(repairs))
    replaying = ("-m", "tests.stack.crash.replayer", TABLE, "--repairs", str(tmp_path / "repairs.json"))
    killed = processes.start(*replaying, CDC_CRASH_AT=point)
    assert killed.ended() == -signal.SIGKILL, killed.output
    assert "replayed" not in letters(lake)["state"].to_list()
    done = processes.start(*replaying).succeeded().events("letters")
    assert done[0]["added"] == (len(repairs) if point == "before_replay:changelog" else 0)
    assert_whole(lake, poison, repaired=True)


def test_a_replay_of_offsets_killed_at_any_moment_beside_a_run_changes_nothing(
    lake: Lake, processes: Children, poison: Poison, shopping: Shopping
) -> None:
    chance = random.Random(SEED)
    writer = processes.writer("--table", TABLE)
    with shopping.open(300):
        writer.when(lambda: writer.commits()[Kind.CURRENT] >= 3)
        for _ in range(2):
            killed = processes.start("-m", "tests.stack.crash.replayer", TABLE)
            killed.started()
            killed.outlived(chance.uniform(0, 0.4))
            killed.kill()
        processes.start("-m", "tests.stack.crash.replayer", TABLE).succeeded()
    writer.send(signal.SIGTERM)
    writer.succeeded()
    catch_up(lake)
    assert_whole(lake, poison)


def test_ten_thousand_undecodable_records_in_a_live_stream_lose_no_good_event(
    lake: Lake, processes: Children, poison: Poison, shopping: Shopping
) -> None:
    writer = processes.writer("--table", TABLE)
    writer.started()
    with shopping.open(400) as done:
        poison.write(lake.source.topic(TABLE), 10_000, seconds=5)
    writer.send(signal.SIGTERM)
    writer.succeeded()
    catch_up(lake)
    print(f"{done.total()} changes among them")
    assert_whole(lake, poison)
    lake.discard(TABLE, "a test")
    assert lake.prove(TABLE).verdict is Verdict.PASS
