"""Signals that ask a process to end.

Invariant: the first one interrupts nothing. An exception raised by a handler would come at any bytecode, and
is lost where Python cannot let it through: in a ``__del__``, in a callback.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted(note: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Within the context the first SIGINT or SIGTERM is handed to ``note``; the second does what it always
    did. In a thread that is not the main one, which cannot have signals, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in ENDING}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def once(received: int, _frame: FrameType | None) -> None:
        restore()
        note(signal.Signals(received))

    for each in ENDING:
        signal.signal(each, once)
    try:
        yield
    finally:
        restore()
