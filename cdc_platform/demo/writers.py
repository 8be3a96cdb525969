"""People who change the shop, in a thread of their own, while everything else is watched."""

from __future__ import annotations

import time
from collections import Counter
from threading import Event, Thread

from cdc_platform.core.errors import Terminal
from cdc_platform.demo.shop import Shop


class Writers:
    """A context: leaving it stops the writers. ``rate``: changes per second; ``seconds``: for how long."""

    def __init__(self, shop: Shop, rate: int, seconds: float) -> None:
        self._stop = Event()
        self._done = Counter[str]()
        self._failed: Exception | None = None
        self._began = self._ended = 0.0
        self._thread = Thread(target=self._work, args=(shop, rate, seconds), daemon=True)

    def __enter__(self) -> Writers:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self, shop: Shop, rate: int, seconds: float) -> None:
        try:
            shop.change(rate, seconds, self._stop, self._done)
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
        """What was written, by operation; raises what stopped the writers."""
        if self._failed:
            raise Terminal(f"the writers failed: {self._failed}", where="MongoDB") from self._failed
        return self._done
