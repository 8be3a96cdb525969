"""Runs of one source follow one another without a gap."""

import threading
from pathlib import Path

import pytest

from cdc_platform.core.errors import Transient
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.replicate.fence import fence, fence_if_free

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


def test_a_free_fence_is_held_at_once_and_nobody_waits_behind_it(settings: Settings) -> None:
    with fence(settings, SOURCE) as relieved:
        assert not relieved()


def test_the_holder_learns_that_a_successor_waits_and_the_successor_follows(settings: Settings) -> None:
    order = []
    with fence(settings, SOURCE) as relieved:

        def successor() -> None:
            with fence(settings, SOURCE):
                order.append("successor")

        thread = threading.Thread(target=successor)
        thread.start()
        waiting = threading.Event()
        while not relieved():
            assert not waiting.wait(0.01)
        order.append("holder")
    thread.join(timeout=10)
    assert order == ["holder", "successor"]


def test_a_held_fence_is_not_free_and_a_left_one_is(settings: Settings) -> None:
    with fence(settings, SOURCE), fence_if_free(settings, SOURCE) as free:
        assert not free
    with fence_if_free(settings, SOURCE) as free:
        assert free


def test_waiting_for_a_stuck_run_ends_with_a_message(settings: Settings) -> None:
    impatient = settings.model_copy(update={"run_seconds": -59.9, "run_grace_seconds": 0})
    with (
        fence(settings, SOURCE),
        pytest.raises(Transient, match="terminate the stuck run"),
        fence(impatient, SOURCE),
    ):
        pass
