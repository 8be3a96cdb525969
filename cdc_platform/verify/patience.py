"""Waiting for something that others bring about, bounded by one deadline for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception, wait_fixed

from cdc_platform.core.errors import Transient
from cdc_platform.verify.verdict import Unprovable

T = TypeVar("T")

POLL: Final = 0.1
"""Seconds between two looks at something that is awaited."""


@dataclass(frozen=True, slots=True)
class Patience:
    """``clock``: seconds that only grow. ``until``: the clock's time at which waiting ends."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    until: float

    def left(self) -> bool:
        return self.clock() < self.until

    def again(self, call: Callable[[], T]) -> T:
        """The call's result, trying again while it says that it may succeed later (a topic's leader
        moves)."""
        retrying = Retrying(
            stop=lambda _: not self.left(),
            wait=wait_fixed(POLL),
            sleep=self.sleep,
            retry=retry_if_exception(_passing),
            reraise=True,
        )
        return retrying(call)


def _passing(error: BaseException) -> bool:
    return isinstance(error, Transient) and not isinstance(error, Unprovable)
