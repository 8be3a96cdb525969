"""Tables of a database: truncations, values that were not sent, columns that change their type, no key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from cdc_platform.core import position
from cdc_platform.core.columns import KEY, OPERATION, RESENT, SCHEMAS
from cdc_platform.core.errors import SchemaRefused, SourceReplaced
from cdc_platform.core.model import Kind, Records
from cdc_platform.core.position import Engine
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.decode.sql import SqlDecoder
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Batch, Replica, append_changes, merge_changes
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.replay import replay
from cdc_platform.replicate.schema_history import SchemaHistory, read_history
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import now, replica
from tests.replicate.sql_events import PLACEHOLDER, SqlTable, described

TOPIC = "shop.public.orders"


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


@pytest.fixture
def orders(log: MemoryLog) -> Replica:
    schema = position.metadata(Engine.POSTGRESQL)
    made = replica(
        log.topics[TOPIC].stream,
        changelog=MemoryTable("memory://orders_changes", schema),
        current=MemoryTable("memory://orders", schema),
    )
    return replace(made, decode=SqlDecoder(Engine.POSTGRESQL))


def take(log: MemoryLog, orders: Replica) -> None:
    """Everything that is new, into both tables."""
    append(log, orders)
    while merge_changes(orders):
        pass


def append(log: MemoryLog, orders: Replica) -> None:
    offsets = orders.changelog.open(orders.stream).offsets
    for records in log.reader({orders.stream: offsets}).poll(0, 10_000):
        assert isinstance(records, Records)
        appended = append_changes(orders, Batch(records))
        assert appended.refused is None


def current(orders: Replica) -> dict[int, Any]:
    """id → v."""
    rows = orders.current.read(orders.current.open(orders.stream)).collect()
    return dict(rows.select("id", "v").rows())


def changes(orders: Replica) -> pl.DataFrame:
    return orders.changelog.read(orders.changelog.open(orders.stream)).collect()


def test_a_key_is_json_of_its_columns_and_a_row_has_the_columns_of_the_table(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable(key=("id", "t"))
    log.write(TOPIC, 0, table.created(id=1, v=2, t='a "quoted" é'))
    take(log, orders)
    [row] = changes(orders).to_dicts()
    assert row[KEY] == '{"id":1,"t":"a \\"quoted\\" é"}'
    assert (row["id"], row["v"], row["t"]) == (1, 2, 'a "quoted" é')


def test_a_truncation_removes_what_is_positioned_before_it_in_every_partition(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable()
    early = [table.created(id=n, v=n, t="") for n in range(6)]
    for n, event in enumerate(early):
        log.write(TOPIC, n % 3, event)
    take(log, orders)
    assert len(current(orders)) == 6
    log.write(TOPIC, 1, table.truncated(), table.created(id=3, v=30, t=""))
    take(log, orders)
    assert current(orders) == {3: 30}


def test_an_older_event_that_arrives_after_a_truncation_changes_nothing(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable()
    older = [table.created(id=1, v=1, t=""), table.updated(id=1, v=2, t="")]
    log.write(TOPIC, 0, table.created(id=9, v=9, t=""))
    log.write(TOPIC, 1, table.truncated())
    take(log, orders)
    log.write(TOPIC, 2, *older)
    take(log, orders)
    assert current(orders) == {}
    log.write(TOPIC, 2, table.created(id=1, v=3, t=""))
    take(log, orders)
    assert current(orders) == {1: 3}
    assert changes(orders)[OPERATION].to_list().count("t") == 1


def test_a_truncation_that_comes_with_rows_around_it_keeps_the_ones_after_it(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, table.created(id=1, v=1, t=""))
    first = table.created(id=2, v=2, t="")
    truncation = table.truncated()
    log.write(TOPIC, 2, truncation)
    log.write(TOPIC, 1, first, table.created(id=4, v=4, t=""))
    take(log, orders)
    assert current(orders) == {4: 4}


def test_every_commit_tells_of_as_many_rows_as_it_removes(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, *(table.created(id=n, v=n, t="") for n in range(5)))
    take(log, orders)
    log.write(TOPIC, 0, table.truncated())
    append(log, orders)
    receipt = merge_changes(orders)
    assert receipt is not None
    assert receipt.applied == {"d": 5}
    assert receipt.rows_in == sum(receipt.applied.values()) + receipt.superseded == 6


def test_a_replay_of_what_lies_before_a_truncation_brings_nothing_back(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, *(table.created(id=n, v=n, t="") for n in range(3)))
    log.write(TOPIC, 0, table.truncated(), table.created(id=7, v=7, t=""))
    take(log, orders)
    done = replay(orders, log, {0: log.available([orders.stream])[TOPIC][0]})
    assert (done.added, current(orders)) == (0, {7: 7})


@pytest.mark.parametrize("together", [True, False])
def test_a_value_that_was_not_sent_is_the_one_that_the_row_had(
    log: MemoryLog, orders: Replica, together: bool
) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, table.created(id=1, v=1, t="large"))
    if not together:
        take(log, orders)
    log.write(TOPIC, 0, table.updated(id=1, v=2, t=PLACEHOLDER), table.updated(id=1, v=3, t=PLACEHOLDER))
    take(log, orders)
    assert changes(orders).select("v", "t").rows() == [(1, "large"), (2, "large"), (3, "large")]


def test_a_null_before_is_what_was_there_and_a_value_between_counts(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, table.created(id=1, v=1, t=None), table.updated(id=1, v=2, t=PLACEHOLDER))
    log.write(TOPIC, 0, table.updated(id=1, v=3, t="new"), table.updated(id=1, v=4, t=PLACEHOLDER))
    log.write(TOPIC, 0, table.created(id=2, v=1, t="other"))
    take(log, orders)
    rows = changes(orders).filter(pl.col("id") == 1)
    assert rows["t"].to_list() == [None, None, "new", "new"]


def test_a_row_whose_old_value_is_nowhere_is_a_dead_letter(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, table.updated(id=1, v=2, t=PLACEHOLDER), table.created(id=2, v=2, t="x"))
    take(log, orders)
    [letter] = read_letters(orders.letters, orders.stream)
    assert "did not send t" in letter.reason
    assert "REPLICA IDENTITY FULL" in letter.remedy
    assert current(orders) == {2: 2}


def test_a_column_that_becomes_another_type_goes_on_beside_the_old_one(
    log: MemoryLog, orders: Replica
) -> None:
    before = SqlTable()
    after = SqlTable(columns={**before.columns, "v": described("string")}, lsn=5_000)
    log.write(TOPIC, 0, before.created(id=1, v=1, t=""))
    log.write(TOPIC, 1, after.created(id=2, v="two", t=""))
    take(log, orders)
    rows = changes(orders).sort("id").select("id", "v", "v__v2").rows()
    assert rows == [(1, 1, None), (2, None, "two")]


def test_a_wider_integer_stays_in_its_column(log: MemoryLog, orders: Replica) -> None:
    before = SqlTable(columns={"id": described("int32"), "v": described("int16"), "t": described("string")})
    after = SqlTable(lsn=5_000)
    log.write(TOPIC, 0, before.created(id=1, v=1, t=""), after.created(id=2**40, v=2**50, t=""))
    take(log, orders)
    assert current(orders) == {1: 1, 2**40: 2**50}


def test_a_table_without_a_key_has_a_changelog(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable(key=())
    orders = replace(orders, kinds=frozenset({Kind.CHANGELOG}))
    log.write(TOPIC, 0, table.created(id=1, v=1, t=""), table.created(id=1, v=1, t=""))
    append(log, orders)
    assert changes(orders).select(KEY, "id").rows() == [(None, 1), (None, 1)]


def test_an_event_that_is_sent_again_is_marked(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable()
    events = [table.created(id=1, v=1, t=""), table.updated(id=1, v=2, t=""), table.updated(id=1, v=3, t="")]
    log.write(TOPIC, 0, *events)
    take(log, orders)
    log.write(TOPIC, 0, *events[1:], table.updated(id=1, v=4, t=""))
    take(log, orders)
    assert changes(orders)[RESENT].to_list() == [False, False, False, True, True, False]
    assert current(orders) == {1: 4}


def test_the_first_event_after_a_start_that_tells_no_commit_before_it_is_known_by_itself(
    log: MemoryLog, orders: Replica
) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, table.created(id=1, v=1, t=""), table.updated(id=1, v=2, t=""))
    take(log, orders)
    again = table.event("u", None, {"id": 1, "v": 2, "t": ""}, lsn=table.lsn, prior=None)
    new = table.event("u", None, {"id": 1, "v": 3, "t": ""}, lsn=table.lsn + 5, prior=None)
    early = table.event("c", None, {"id": 2, "v": 9, "t": ""}, lsn=950, prior=None)
    log.write(TOPIC, 0, again, new, early)
    take(log, orders)
    assert changes(orders)[RESENT].to_list() == [False, False, True, False, False]
    assert current(orders) == {1: 3, 2: 9}


def test_an_event_of_another_history_stops_the_table(log: MemoryLog, orders: Replica) -> None:
    table = SqlTable()
    log.write(TOPIC, 0, *(table.created(id=n, v=n, t="") for n in range(3)))
    take(log, orders)
    restored = SqlTable(lsn=950)
    log.write(TOPIC, 0, restored.created(id=50, v=1, t=""))
    with pytest.raises(SourceReplaced, match="lsn 960"):
        append(log, orders)


def gated(orders: Replica, policy: Compatibility) -> Replica:
    history = SchemaHistory(MemoryTable("memory://orders_schemas", SCHEMAS))
    return replace(orders, compatibility=policy, history=history)


def versions(orders: Replica) -> list[tuple[str, str, int, int]]:
    assert orders.history.table is not None
    found = read_history(orders.history.table, orders.stream)
    return [(each.state, each.changes, each.partition, each.offset) for each in found]


WIDER = {"columns": {**SqlTable().columns, "extra": described("string")}, "lsn": 5_000}
OTHER = {"columns": {**SqlTable().columns, "v": described("string")}, "lsn": 9_000}


def test_the_history_tells_each_version_of_the_schema_and_its_first_event(
    log: MemoryLog, orders: Replica
) -> None:
    orders = gated(orders, Compatibility.NONE)
    log.write(
        TOPIC, 0, SqlTable().created(id=1, v=1, t=""), SqlTable(**WIDER).created(id=2, v=2, t="", extra="x")
    )
    take(log, orders)
    log.write(TOPIC, 1, SqlTable(lsn=6_000).created(id=3, v=1, t=""))
    log.write(TOPIC, 1, SqlTable(**OTHER).created(id=4, v="four", t=""))
    take(log, orders)
    assert versions(orders) == [
        ("taken", "first seen", 0, 0),
        ("taken", "added extra string", 0, 1),
        ("taken", "dropped extra string; v: int64 became string", 1, 1),
    ]


def test_a_change_that_the_policy_forbids_stops_the_table_before_its_first_event_until_it_is_accepted(
    log: MemoryLog, orders: Replica
) -> None:
    orders = gated(orders, Compatibility.BACKWARD)
    log.write(TOPIC, 0, SqlTable().created(id=1, v=1, t=""))
    log.write(TOPIC, 0, SqlTable(**OTHER).created(id=2, v="two", t=""))
    log.write(TOPIC, 1, SqlTable(lsn=7_000).created(id=3, v=3, t=""))
    log.write(TOPIC, 1, SqlTable(**OTHER).created(id=4, v="four", t=""))
    refused = append_changes(orders, Batch(everything(log, orders))).refused
    assert isinstance(refused, SchemaRefused)
    assert "v is int64 in one and string in the other" in refused.what
    assert "partition 0, offset 1" in refused.where
    assert "cdc schema accept" in refused.remedy
    assert changes(orders)["id"].sort().to_list() == [1, 3]
    assert versions(orders)[-1] == ("refused", "v: int64 became string", 0, 1)
    assert [each.changes for each in orders.history.accept(orders.stream, now())] == [
        "v: int64 became string"
    ]
    take(log, orders)
    rows = changes(orders).sort("id").select("id", "v", "v__v2").rows()
    assert rows == [(1, 1, None), (2, None, "two"), (3, 3, None), (4, None, "four")]


def test_another_key_stops_the_table_whatever_its_policy(log: MemoryLog, orders: Replica) -> None:
    orders = gated(orders, Compatibility.NONE)
    log.write(TOPIC, 0, SqlTable().created(id=1, v=1, t=""))
    log.write(TOPIC, 0, SqlTable(key=("id", "v"), lsn=5_000).created(id=1, v=1, t=""))
    refused = append_changes(orders, Batch(everything(log, orders))).refused
    assert refused is not None
    assert "the key was (id) and is (id, v)" in refused.what


def everything(log: MemoryLog, orders: Replica) -> Records:
    [records] = log.reader({orders.stream: {}}).poll(0, 10_000)
    assert isinstance(records, Records)
    return records
