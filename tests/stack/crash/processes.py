"""Child processes of a test: each with a log of its own, awaited with deadlines, ended by its own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from tests.stack.conftest import eventually

ROOT = Path(__file__).parents[3]


class Child:
    """A running process and what it wrote."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def events(self, name: str) -> list[dict[str, Any]]:
        """What a writer told. A line that a kill cut short is left out."""
        lines = [line for line in self.output.splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(orjson.loads, lines) if event["event"] == name]

    def commits(self) -> Counter[str]:
        """Commits told of, by kind."""
        return Counter(event["kind"] for event in self.events("commit"))

    def when(self, condition: Callable[[], bool], within: float = 60) -> None:
        """Wait until the condition holds; fails when the process ends before that."""
        eventually(lambda: condition() or not self.alive, within)
        assert condition(), f"ended with {self._process.returncode} before that:\n{self.output}"

    def started(self) -> None:
        self.when(lambda: bool(self.events("started")))

    def stopped(self) -> None:
        """Wait until every thread of the process stands still by SIGSTOP."""
        process = psutil.Process(self.pid)
        self.when(lambda: {_status(t.id) for t in process.threads()} <= {psutil.STATUS_STOPPED, None})

    def send(self, sent: signal.Signals) -> None:
        self._process.send_signal(sent)

    def ended(self, within: float = 90) -> int:
        """Exit code; negative for the signal that killed it. Fails if it does not end by itself."""
        return self._process.wait(timeout=within)

    def succeeded(self, within: float = 90) -> Child:
        """Wait for the end, which must be one without a failure."""
        assert self.ended(within) == 0, self.output
        return self

    def outlived(self, seconds: float) -> bool:
        """True if the process ran on for that long."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        """SIGKILL, also while it is stopped; nothing if it has ended."""
        self._process.kill()
        self._process.wait(timeout=30)


class Children:
    """Starts a lake's processes; all of them are ended with the context."""

    def __init__(self, source: Source, settings: Settings, logs: Path) -> None:
        self._environment = {
            "CDC_TEST_SOURCE": source.model_dump_json(),
            "CDC_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "CDC_CONNECT_URL": settings.connect_url,
            "CDC_LAKE_ROOT": str(settings.lake_root),
            "CDC_STATE_DIR": str(settings.state_dir),
        }
        self._logs = logs
        self._children: list[Child] = []

    def start(self, *argv: str, **environment: str) -> Child:
        log = self._logs / f"child-{len(self._children)}.log"
        child = Child(argv, self._environment | environment, log)
        self._children.append(child)
        return child

    def writer(self, *options: str) -> Child:
        return self.start("-m", "tests.stack.crash.writer", *options)

    def end(self) -> None:
        for child in self._children:
            child.kill()


@contextmanager
def children(source: Source, settings: Settings, logs: Path) -> Iterator[Children]:
    found = Children(source, settings, logs)
    try:
        yield found
    finally:
        found.end()


def _status(thread: int) -> str | None:
    """None for a thread that has ended since it was listed."""
    try:
        return psutil.Process(thread).status()
    except psutil.NoSuchProcess:
        return None
