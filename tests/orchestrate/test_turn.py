"""When a source needs a run, and of which tables."""

import pytest

from cdc_platform.core.model import Format, Target
from cdc_platform.orchestrate.turn import Situation, Turn, Working, turn, worth_looking

ORDERS, CUSTOMERS, PRODUCTS = (Target(name, Format.DELTA) for name in ("orders", "customers", "products"))
TARGETS = (ORDERS, CUSTOMERS, PRODUCTS)
NOW, SECONDS = 10_000.0, 600.0


def decided(seen: Situation) -> Turn:
    return turn(seen, NOW, SECONDS)


def situation(*runs: Working, behind: dict[Target, int] | None = None, **more: object) -> Situation:
    return Situation(TARGETS, runs, behind or {}, **more)  # type: ignore[arg-type]


def working(*targets: Target, since: float | None = 60.0) -> Working:
    started = None if since is None else NOW - since
    return Working("0123456789abcdef", started, frozenset(targets or TARGETS))


def test_lag_of_one_table_starts_a_run_of_all() -> None:
    assert decided(situation(behind={ORDERS: 5, CUSTOMERS: 0})).targets == TARGETS


def test_without_lag_nothing_starts() -> None:
    found = decided(situation(behind={ORDERS: 0}))
    assert found.targets == ()
    assert "ends of all topics" in found.reason


def test_a_run_that_is_starting_is_enough() -> None:
    assert decided(situation(working(since=None), behind={ORDERS: 5})).targets == ()


def test_a_young_run_is_left_alone() -> None:
    assert decided(situation(working(), behind={ORDERS: 5})).targets == ()


def test_a_run_nearly_out_of_time_gets_one_successor_of_all_tables_whatever_lags() -> None:
    old = working(since=595.0)
    assert decided(situation(old)).targets == TARGETS
    assert decided(situation(old, working(since=None))).targets == ()


def test_a_held_table_starts_no_run_and_the_reason_is_said() -> None:
    found = decided(situation(behind={ORDERS: 5}, held={ORDERS: "schema is being mended"}))
    assert found.targets == ()
    assert "orders (delta) (schema is being mended)" in found.reason


def test_a_held_table_is_part_of_the_run_that_another_needs() -> None:
    found = decided(situation(behind={ORDERS: 5, CUSTOMERS: 1}, held={ORDERS: "wait"}))
    assert found.targets == TARGETS


def test_a_resting_table_is_left_out_and_starts_nothing() -> None:
    resting = {ORDERS: NOW + 42}
    found = decided(situation(behind={ORDERS: 5}, resting=resting))
    assert found.targets == ()
    assert "orders (delta) for 42 s" in found.reason
    both = decided(situation(behind={ORDERS: 5, CUSTOMERS: 1}, resting=resting))
    assert both.targets == (CUSTOMERS, PRODUCTS)


def test_a_table_without_a_topic_is_left_out_and_named() -> None:
    found = decided(situation(behind={CUSTOMERS: 0}, missing=frozenset({ORDERS})))
    assert "without a topic: orders (delta)" in found.reason
    assert decided(situation(behind={CUSTOMERS: 1}, missing=frozenset({ORDERS}))).targets == TARGETS[1:]


@pytest.mark.parametrize(
    ("more", "relieved"),
    [({}, True), ({"held": {ORDERS: "wait"}}, False), ({"resting": {ORDERS: NOW + 1}}, False)],
)
def test_a_table_that_the_run_does_not_drain_makes_a_successor_relieve_it(
    more: dict[str, object], relieved: bool
) -> None:
    found = decided(situation(working(CUSTOMERS, PRODUCTS), behind={ORDERS: 5}, **more))
    assert found.targets == (TARGETS if relieved else ())


def test_only_tables_that_no_young_run_drains_are_looked_at() -> None:
    def looked_at(*runs: Working) -> tuple[Target, ...]:
        return worth_looking(TARGETS, runs, NOW, SECONDS)

    assert looked_at() == TARGETS
    assert looked_at(working()) == ()
    assert looked_at(working(CUSTOMERS, PRODUCTS)) == (ORDERS,)
    assert looked_at(working(since=595.0)) == TARGETS
    assert looked_at(working(since=595.0), working(since=1.0)) == ()


def test_what_happens_to_one_format_is_not_the_others() -> None:
    iceberg = Target("orders", Format.ICEBERG)
    seen = Situation((ORDERS, iceberg), [], {ORDERS: 3, iceberg: 900}, resting={iceberg: NOW + 60})
    assert decided(seen).targets == (ORDERS,)
    waiting = Situation((ORDERS, iceberg), [working(ORDERS)], {iceberg: 900})
    found = decided(waiting)
    assert found.targets == (ORDERS, iceberg)
    assert "does not drain orders (iceberg)" in found.reason
