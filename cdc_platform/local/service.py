"""What the stack has to know about a component in order to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.local.process import Command


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a stack keeps what is its own."""

    root: Path

    @property
    def run(self) -> Path:
        """Records of running processes."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log a service."""
        return self.root / "logs"

    def log(self, name: str) -> Path:
        """The log of one service."""
        return self.logs / f"{name}.log"

    def data(self, name: str) -> Path:
        """The data directory of one service."""
        return self.root / "data" / name

    @property
    def config(self) -> Path:
        """Generated configuration files."""
        return self.root / "config"

    @property
    def state(self) -> Path:
        """What the stack remembers between commands."""
        return self.root / "stack.json"

    @property
    def disposable(self) -> tuple[Path, ...]:
        """All that `reset` removes: only what this package wrote, whatever else lies in the directory."""
        return (self.root / "data", self.logs, self.config, self.run, self.state)


@dataclass(frozen=True, slots=True)
class Service:
    """A component.

    `prepare` writes its configuration, and gets the environment for any program that it runs to that end;
    `ready` raises `NotReadyError` until the component can be used.
    """

    title: str
    command: Command
    prepare: Callable[[Mapping[str, str]], None]
    ready: Callable[[], None]

    @property
    def name(self) -> str:
        """The name it is known by in status, logs and run files."""
        return self.command.name
