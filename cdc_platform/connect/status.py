"""What Kafka Connect says about a connector and its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cdc_platform.connect.remedies import remedy
from cdc_platform.core.errors import Terminal
from cdc_platform.core.masking import masked


class State(StrEnum):
    """Connect's states. A connector that runs may have tasks that failed: look at all of them."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    UNASSIGNED = "UNASSIGNED"
    RESTARTING = "RESTARTING"
    DESTROYED = "DESTROYED"


class Progress(StrEnum):
    """How far a connector has come, by the position it has committed to Kafka together with its events.

    SNAPSHOT: it reads what was there when it started, and streams from that moment afterwards.
    """

    NOTHING = "nothing"
    SNAPSHOT = "snapshot"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """``trace``: the Java stack trace of a failure, otherwise empty."""

    id: int
    state: State
    worker: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """``state`` and ``trace`` are the connector's own, beside those of its tasks."""

    name: str
    state: State
    worker: str
    tasks: tuple[TaskStatus, ...]
    trace: str = ""

    def is_all(self, state: State) -> bool:
        """Whether the connector and all its tasks, at least one, are in this state."""
        return bool(self.tasks) and all(
            each == state for each in (self.state, *(t.state for t in self.tasks))
        )

    @property
    def failed(self) -> bool:
        """Whether the connector or any task has failed."""
        return State.FAILED in (self.state, *(task.state for task in self.tasks))

    @property
    def failures(self) -> frozenset[tuple[str, str]]:
        """Who has failed, the connector or a task by its number, and with which trace."""
        own = {("connector", self.trace)} if self.state == State.FAILED else set()
        return frozenset(own | {(str(t.id), t.trace) for t in self.tasks if t.state == State.FAILED})

    def require_not_failed(self, *, where: str) -> None:
        """Raise Terminal with the first failure's own words."""
        if self.state == State.FAILED:
            _refuse(f"connector {self.name}", self.trace, where)
        for task in self.tasks:
            if task.state == State.FAILED:
                _refuse(f"task {task.id} of connector {self.name}", task.trace, where)

    def __str__(self) -> str:
        tasks = ", ".join(f"task {task.id} {task.state}" for task in self.tasks)
        return f"connector {self.state}, {tasks or 'no task'}"


def failure(trace: str) -> str:
    """First line of a Java stack trace and its root cause, which names the fault, without passwords."""
    lines = masked(trace).strip().splitlines() or ["Connect gives no reason"]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return f"{lines[0]}\n    because of {causes[-1]}" if causes else lines[0]


def _refuse(who: str, trace: str, where: str) -> None:
    raise Terminal(
        f"{who} has failed: {failure(trace)}",
        where=where,
        remedy=remedy(trace),
    )
