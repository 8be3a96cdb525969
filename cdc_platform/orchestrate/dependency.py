"""A circuit breaker for each service that ticks and checks depend on.

While a service is down, whoever needs it is answered at once with the reason, and one of them tries it again
after a time that doubles with each failure, up to LONGEST. So a tick does not wait out the service's timeout
each time, and a hundred checks do not wait for it one after another.

Invariants
- The state is a file: the sensor, every run's process and what comes after a restart know the same.
- Only Transient errors count: a service that answers with a refusal is there.
- Losing the file costs one attempt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitBreakerError, CircuitBreakerStorage
from pydantic import BaseModel, ValidationError

from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.core.settings import Settings

FIRST, LONGEST = 5.0, 60.0
"""Seconds until a service is tried again: after its first failure, and at most."""

T = TypeVar("T")


class Down(Transient):
    """The service did not answer a moment ago and was not asked again."""


class Dependency:
    """One service at one address. ``folder``: where the states of all of them are kept."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self._name = name
        self._kept = _Kept(folder / f"{quote(f'{name} {address}', safe=' ')}.json")
        self._breaker = CircuitBreaker(
            fail_max=1,
            exclude=[_is_an_answer],
            state_storage=self._kept,
            throw_new_error_on_trip=False,
        )

    def call(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives. Raises what it raises, or Down at once while the service is down.

        Callers of one process wait for one another: guard short calls.
        """
        self._breaker.reset_timeout = _rest(self._kept.counter)
        try:
            found = self._breaker.call(ask)
        except CircuitBreakerError:
            raise self._down() from None
        except Transient as error:
            self._kept.note(error)
            raise
        return found

    def _down(self) -> Down:
        found = self._kept.circuit
        since = found.since or datetime.now(UTC)
        opened = found.opened_at or since
        wait = max(0.0, _rest(found.failures) - (datetime.now(UTC) - opened).total_seconds())
        return Down(
            f"{self._name} does not answer since {since:%Y-%m-%d %H:%M:%S} UTC: {found.what}",
            where=found.where,
            remedy=f"{found.remedy}; it is asked again in {wait:.0f} s",
        )


def dependency(settings: Settings, name: str, address: str) -> Dependency:
    """``address``: hosts and ports, without credentials."""
    return Dependency(name, address, settings.state_dir.absolute() / "dependencies")


def _is_an_answer(error: BaseException) -> bool:
    return not isinstance(error, Transient) or isinstance(error, Conflict)


def _rest(failures: int) -> float:
    return float(min(LONGEST, FIRST * 2 ** max(0, min(failures, 10) - 1)))


class _Circuit(BaseModel, frozen=True):
    state: str = STATE_CLOSED
    failures: int = 0
    successes: int = 0
    opened_at: datetime | None = None
    since: datetime | None = None
    what: str = ""
    where: str = ""
    remedy: str = ""


class _Kept(CircuitBreakerStorage):
    """The state in a file. Of two processes that write at once the last one wins: both saw the same."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self._path = path

    @property
    def circuit(self) -> _Circuit:
        try:
            return _Circuit.model_validate_json(self._path.read_text())
        except (FileNotFoundError, ValidationError):
            return _Circuit()

    def _keep(self, **changed: object) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(self.circuit.model_copy(update=changed).model_dump_json())
        draft.replace(self._path)

    def note(self, error: Transient) -> None:
        since = self.circuit.since or datetime.now(UTC)
        self._keep(since=since, what=error.what, where=error.where, remedy=error.remedy)

    @property
    def state(self) -> str:
        return self.circuit.state

    @state.setter
    def state(self, state: str) -> None:
        if state != self.circuit.state:
            self._keep(state=state, **({"since": None} if state == STATE_CLOSED else {}))

    @property
    def counter(self) -> int:
        return self.circuit.failures

    def increment_counter(self) -> None:
        self._keep(failures=self.circuit.failures + 1)

    def reset_counter(self) -> None:
        if self.circuit.failures:
            self._keep(failures=0)

    @property
    def success_counter(self) -> int:
        return self.circuit.successes

    def increment_success_counter(self) -> None:
        self._keep(successes=self.circuit.successes + 1)

    def reset_success_counter(self) -> None:
        if self.circuit.successes:
            self._keep(successes=0)

    @property
    def opened_at(self) -> datetime | None:
        return self.circuit.opened_at

    @opened_at.setter
    def opened_at(self, at: datetime) -> None:
        self._keep(opened_at=at)
