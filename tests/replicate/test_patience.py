"""How often a writer tries again."""

from __future__ import annotations

import pytest
from tenacity import Future, RetryCallState, Retrying

from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.replicate.replica import ATTEMPTS, CONFLICT_SECONDS, spent


def failed(error: Exception, attempt: int, seconds: float) -> RetryCallState:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future.construct(attempt, error, has_exception=True)
    state.outcome_timestamp = state.start_time + seconds
    return state


@pytest.mark.parametrize(("seconds", "last"), [(0.0, False), (CONFLICT_SECONDS + 1, True)])
def test_a_writer_gets_past_others_by_time_however_often_they_were_first(seconds: float, last: bool) -> None:
    assert spent(failed(Conflict("another was first"), 10 * ATTEMPTS, seconds)) is last


def test_a_writer_whose_attempts_take_long_has_as_many_of_them() -> None:
    assert not spent(failed(Conflict("another was first"), ATTEMPTS - 1, 10 * CONFLICT_SECONDS))


@pytest.mark.parametrize(("attempt", "last"), [(ATTEMPTS - 1, False), (ATTEMPTS, True)])
def test_a_service_that_fails_is_asked_a_bounded_number_of_times(attempt: int, last: bool) -> None:
    assert spent(failed(Transient("no answer"), attempt, 10 * CONFLICT_SECONDS)) is last
