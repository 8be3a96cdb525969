"""When a source needs a run, and of which tables."""

import pytest

from cdc_platform.orchestrate.turn import Situation, Turn, Working, turn, worth_looking

TABLES = ("orders", "customers", "products")
NOW, SECONDS = 10_000.0, 600.0


def decided(seen: Situation) -> Turn:
    return turn(seen, NOW, SECONDS)


def situation(*runs: Working, behind: dict[str, int] | None = None, **more: object) -> Situation:
    return Situation(TABLES, runs, behind or {}, **more)  # type: ignore[arg-type]


def working(*tables: str, since: float | None = 60.0) -> Working:
    started = None if since is None else NOW - since
    return Working("0123456789abcdef", started, frozenset(tables or TABLES))


def test_lag_of_one_table_starts_a_run_of_all() -> None:
    assert decided(situation(behind={"orders": 5, "customers": 0})).tables == TABLES


def test_without_lag_nothing_starts() -> None:
    found = decided(situation(behind={"orders": 0}))
    assert found.tables == ()
    assert "ends of all topics" in found.reason


def test_a_run_that_is_starting_is_enough() -> None:
    assert decided(situation(working(since=None), behind={"orders": 5})).tables == ()


def test_a_young_run_is_left_alone() -> None:
    assert decided(situation(working(), behind={"orders": 5})).tables == ()


def test_a_run_nearly_out_of_time_gets_one_successor_of_all_tables_whatever_lags() -> None:
    old = working(since=595.0)
    assert decided(situation(old)).tables == TABLES
    assert decided(situation(old, working(since=None))).tables == ()


def test_a_held_table_starts_no_run_and_the_reason_is_said() -> None:
    found = decided(situation(behind={"orders": 5}, held={"orders": "schema is being mended"}))
    assert found.tables == ()
    assert "orders (schema is being mended)" in found.reason


def test_a_held_table_is_part_of_the_run_that_another_needs() -> None:
    found = decided(situation(behind={"orders": 5, "customers": 1}, held={"orders": "wait"}))
    assert found.tables == TABLES


def test_a_resting_table_is_left_out_and_starts_nothing() -> None:
    resting = {"orders": NOW + 42}
    found = decided(situation(behind={"orders": 5}, resting=resting))
    assert found.tables == ()
    assert "orders for 42 s" in found.reason
    both = decided(situation(behind={"orders": 5, "customers": 1}, resting=resting))
    assert both.tables == ("customers", "products")


def test_a_table_without_a_topic_is_left_out_and_named() -> None:
    found = decided(situation(behind={"customers": 0}, missing=frozenset({"orders"})))
    assert "without a topic: orders" in found.reason
    assert decided(situation(behind={"customers": 1}, missing=frozenset({"orders"}))).tables == TABLES[1:]


@pytest.mark.parametrize(
    ("more", "relieved"),
    [({}, True), ({"held": {"orders": "wait"}}, False), ({"resting": {"orders": NOW + 1}}, False)],
)
def test_a_table_that_the_run_does_not_drain_makes_a_successor_relieve_it(
    more: dict[str, object], relieved: bool
) -> None:
    found = decided(situation(working("customers", "products"), behind={"orders": 5}, **more))
    assert found.tables == (TABLES if relieved else ())


def test_only_tables_that_no_young_run_drains_are_looked_at() -> None:
    def looked_at(*runs: Working) -> tuple[str, ...]:
        return worth_looking(TABLES, runs, NOW, SECONDS)

    assert looked_at() == TABLES
    assert looked_at(working()) == ()
    assert looked_at(working("customers", "products")) == ("orders",)
    assert looked_at(working(since=595.0)) == TABLES
    assert looked_at(working(since=595.0), working(since=1.0)) == ()
