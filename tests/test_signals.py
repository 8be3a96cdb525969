"""The first signal that asks a process to end interrupts nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cdc_platform.signals import ENDING, noted


class Twice(Exception):
    """Raised by what a signal did before."""


@pytest.fixture(params=ENDING)
def usual(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that raises Twice as long as nobody takes it."""
    taken: signal.Signals = request.param

    def raising(*_: object) -> None:
        raise Twice

    before = signal.signal(taken, raising)
    yield taken
    signal.signal(taken, before)


def test_the_first_signal_is_noted_and_the_second_does_what_it_always_did(usual: signal.Signals) -> None:
    came: list[signal.Signals] = []
    with noted(came.append):
        os.kill(os.getpid(), usual)
        assert came == [usual]
        with pytest.raises(Twice):
            os.kill(os.getpid(), usual)
    assert came == [usual]


def test_afterwards_signals_do_what_they_always_did(usual: signal.Signals) -> None:
    came: list[signal.Signals] = []
    with noted(came.append):
        pass
    with pytest.raises(Twice):
        os.kill(os.getpid(), usual)
    assert came == []


def test_a_signal_is_not_lost_where_an_exception_would_be(usual: signal.Signals) -> None:
    class Ends:
        def __del__(self) -> None:
            os.kill(os.getpid(), usual)

    came: list[signal.Signals] = []
    with noted(came.append):
        ending = Ends()
        del ending
        assert came == [usual]


def test_another_thread_than_the_main_one_leaves_signals_alone(usual: signal.Signals) -> None:
    before = signal.getsignal(usual)

    def inside() -> object:
        with noted(lambda _: None):
            return signal.getsignal(usual)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() is before
