"""Whether a run is asked to end: by a signal to its process, or by a person in the UI.

Dagster tells a run's process of a termination with one signal. One that comes while the process still starts
may be lost, so the run's own status is looked at as well.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

import dagster as dg

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at the run's status."""

_TERMINATED: Final = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


class Ending:
    """Of one run."""

    def __init__(
        self, instance: dg.DagsterInstance, run_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._instance = instance
        self._run_id = run_id
        self._clock = clock
        self._looked = clock()
        self._asked = False

    def note(self, received: signal.Signals) -> None:
        """A signal came."""
        del received
        self._asked = True

    @property
    def asked(self) -> bool:
        if not self._asked and self._clock() - self._looked >= LOOK_EVERY:
            self._looked = self._clock()
            self._asked = self.terminated
        return self._asked

    @property
    def terminated(self) -> bool:
        """True if a person terminated the run. A bare SIGTERM to the process ends the run as a success."""
        run = self._instance.get_run_by_id(self._run_id)
        return run is not None and run.status in _TERMINATED
