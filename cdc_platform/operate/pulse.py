"""Whether a source's changes come into Kafka now, asked once for all tables that want to know.

Invariant: what is told is not older than FRESH. What a violation breaks: a connector that has stood still
since would be told to send.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import closing
from threading import Lock
from typing import Final

from cdc_platform.core.errors import CdcError
from cdc_platform.verify.barrier import into_kafka
from cdc_platform.verify.patience import Patience
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.opening import Truths

FRESH: Final = 10.0
"""Seconds for which an answer holds for the source's other tables, too."""


class Pulse:
    """Of one source. Its tables may ask side by side. ``clock``: seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._answered = -FRESH
        self._answer: float | CdcError | None = None

    def take(self, ask: Callable[[], float]) -> float:
        """The answer, or its error: what ``ask`` gives, or gave a moment ago."""
        with self._lock:
            if self._answer is None or self._clock() - self._answered > FRESH:
                try:
                    self._answer = ask()
                except CdcError as error:
                    self._answer = error
                self._answered = self._clock()
            if isinstance(self._answer, CdcError):
                raise self._answer
            return self._answer


def by_marker(
    truth_of: Truths,
    table: str,
    subject: Callable[[Truth], Subject],
    most: float,
    sleep: Callable[[float], None],
) -> float:
    """Seconds that a marker takes from the source of this table into Kafka. Raises Unprovable if it is not
    there after ``most`` seconds."""
    with closing(truth_of(table)) as truth:
        patience = Patience(time.monotonic, sleep, time.monotonic() + most)
        return into_kafka(subject(truth), uuid.uuid4().hex, patience)
