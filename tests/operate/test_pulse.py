"""One answer serves the tables of a source for a moment, and an error is one, too."""

from __future__ import annotations

import pytest

from cdc_platform.operate.pulse import FRESH, Pulse
from cdc_platform.verify.verdict import Cause, Unprovable


class Asked:
    """Counts how often it is asked; answers with that number, or raises."""

    def __init__(self, error: Unprovable | None = None) -> None:
        self.times = 0
        self._error = error

    def __call__(self) -> float:
        self.times += 1
        if self._error is not None:
            raise self._error
        return float(self.times)


def test_tables_that_ask_within_a_moment_get_one_answer_and_later_ones_another() -> None:
    now, asked = [100.0], Asked()
    pulse = Pulse(lambda: now[0])
    assert [pulse.take(asked), pulse.take(asked)] == [1.0, 1.0]
    now[0] += FRESH + 1
    assert pulse.take(asked) == 2.0


def test_a_source_that_does_not_answer_is_waited_for_once() -> None:
    asked = Asked(Unprovable(Cause.SOURCE_UNREACHABLE, "no answer"))
    pulse = Pulse(lambda: 100.0)
    for _ in range(3):
        with pytest.raises(Unprovable, match="no answer"):
            pulse.take(asked)
    assert asked.times == 1
