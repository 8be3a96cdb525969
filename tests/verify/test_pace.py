"""A source is read no faster than it is declared."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.verify.truth.pace import Pace


@dataclass(slots=True)
class Clock:
    now: float = 100.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_batches_take_the_time_that_their_rows_have() -> None:
    clock = Clock()
    pace = Pace(1_000, clock.time, clock.sleep)
    for _ in range(11):
        pace.take(500)
    assert clock.now == 105.0


def test_time_that_went_by_without_reading_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(1_000, clock.time, clock.sleep)
    pace.take(500)
    clock.now += 60
    for _ in range(3):
        pace.take(500)
    assert clock.now == 161.0


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    pace = Pace(None, clock.time, clock.sleep)
    for _ in range(9):
        pace.take(10**9)
    assert clock.now == 100.0
