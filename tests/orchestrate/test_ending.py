"""A run learns that it is to end, also when the signal that says so was lost."""

from __future__ import annotations

import signal

import dagster as dg
import pytest

from cdc_platform.orchestrate.ending import LOOK_EVERY, Ending


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture
def run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    @dg.job
    def nothing() -> None: ...

    return instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_signal_asks_a_run_to_end_without_terminating_it(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    ending = Ending(instance, run.run_id)
    assert not ending.asked
    ending.note(signal.SIGTERM)
    assert ending.asked
    assert not ending.terminated


def test_a_termination_is_seen_in_the_runs_status_a_while_later(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    clock = Clock()
    ending = Ending(instance, run.run_id, clock)
    instance.report_run_canceling(run)
    assert not ending.asked
    clock.now += LOOK_EVERY
    assert ending.asked
    assert ending.terminated


def test_a_run_that_goes_on_is_not_asked_to_end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    clock = Clock()
    ending = Ending(instance, run.run_id, clock)
    clock.now += 10 * LOOK_EVERY
    assert not ending.asked
    assert not ending.terminated
