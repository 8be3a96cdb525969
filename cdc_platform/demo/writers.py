"""People who change a database, in a thread of their own, while everything else is watched."""

from __future__ import annotations

import time
from collections import Counter
from threading import Event, Thread

from cdc_platform.core.errors import Terminal
from cdc_platform.demo.trade import Trade


class Writers:
    """A context: leaving it stops the writers. ``where``: the database, for people. ``rate``: changes per
    second.
    """

    def __init__(self, trade: Trade, where: str, rate: int) -> None:
        self._where = where
        self._stop = Event()
        self._done = Counter[str]()
        self._failed: Exception | None = None
        self._began = self._ended = 0.0
        self._thread = Thread(target=self._work, args=(trade, rate), daemon=True)

    def __enter__(self) -> Writers:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self, trade: Trade, rate: int) -> None:
        try:
            trade.change(rate, float("inf"), self._stop, self._done)
        except Exception as error:
            self._failed = error
        finally:
            self._ended = time.monotonic()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def passed(self) -> float:
        """Seconds of writing."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def made(self) -> int:
        return self._done.total()

    def result(self) -> Counter[str]:
        """What was written, by operation; raises what ended the writers before they were stopped."""
        if self._failed:
            raise Terminal(f"the writers failed: {self._failed}", where=self._where) from self._failed
        return self._done
