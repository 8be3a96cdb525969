"""When a source needs a run, and of which tables. Pure.

Invariants
- One run drains, at most one more waits to relieve it.
- A table in one format is a target; what happens to one format of a table is not the other's.
- A successor takes all targets, not those that lag at this moment: one that happens to be caught up would
  otherwise stay without a run until the next.
- A table that is held back, or rests after a failure, starts no run and does not end one. A held one is still
  part of the runs that others need: it goes on in the middle of a run when it is released.
- A table that the present run does not drain (it is new, it failed and has rested) is not left to wait for
  that run's end: a successor of all tables relieves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc_platform.core.model import Target

HAND_OVER = 8.0
"""Seconds before a run's end at which its successor is started: start-up takes about 3 s, a tick 5 s."""


@dataclass(frozen=True, slots=True)
class Working:
    """A run that is going on. ``started``: epoch seconds, None before. ``targets``: those it still drains."""

    run_id: str
    started: float | None
    targets: frozenset[Target]

    def is_old(self, now: float, seconds: float) -> bool:
        return self.started is not None and now - self.started >= seconds - HAND_OVER


@dataclass(frozen=True, slots=True)
class Situation:
    """What one tick knows. ``targets``: all of the source's. ``behind``: offsets that the lake lacks, for the
    tables looked at that have a topic. ``held``: reasons by table. ``resting``: until when, epoch seconds.
    """

    targets: Sequence[Target]
    runs: Sequence[Working]
    behind: Mapping[Target, int]
    missing: frozenset[Target] = frozenset()
    held: Mapping[Target, str] = field(default_factory=dict)
    resting: Mapping[Target, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """``targets``: of the run to start; none if no run is needed. ``reason``: why, or why not."""

    targets: tuple[Target, ...]
    reason: str


def worth_looking(
    targets: Sequence[Target], runs: Sequence[Working], now: float, seconds: float
) -> tuple[Target, ...]:
    """The tables whose lag decides whether a run is needed: those that no young run drains."""
    if len(runs) > 1:
        return ()
    if not runs or runs[0].is_old(now, seconds):
        return tuple(targets)
    return tuple(name for name in targets if name not in runs[0].targets)


def turn(seen: Situation, now: float, seconds: float) -> Turn:
    """``now``: epoch seconds; ``seconds``: how long a run drains."""
    able = tuple(name for name in seen.targets if name not in seen.missing and name not in seen.resting)
    needy = [name for name in able if seen.behind.get(name) and name not in seen.held]
    match seen.runs:
        case []:
            needed = f"behind: {_named(needy)}" if needy else ""
            otherwise = "the lake stands at the ends of all topics"
        case [run]:
            needed = _relief(run, needy, now, seconds)
            otherwise = f"run {run.run_id[:8]} is {'starting' if run.started is None else 'draining'}"
        case _:
            needed, otherwise = "", "a run is draining and its successor is ready"
    return Turn(able, needed) if needed else Turn((), _with_exceptions(otherwise, seen, now))


def _relief(run: Working, needy: Sequence[Target], now: float, seconds: float) -> str:
    """Why a run needs a successor now, empty if it does not."""
    if run.started is None:
        return ""
    if run.is_old(now, seconds):
        return f"run {run.run_id[:8]} is nearly out of time"
    waiting = [name for name in needy if name not in run.targets]
    return f"run {run.run_id[:8]} does not drain {_named(waiting)}" if waiting else ""


def _named(targets: Iterable[Target]) -> str:
    return ", ".join(map(str, targets))


def _with_exceptions(what: str, seen: Situation, now: float) -> str:
    """Who looks at the sensor sees which tables stand still, and what would move them."""
    parts = [what]
    if seen.held:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in sorted(seen.held.items()))
        parts.append(f"held back: {reasons}")
    if seen.resting:
        rests = ", ".join(f"{name} for {end - now:.0f} s" for name, end in sorted(seen.resting.items()))
        parts.append(f"resting after a failure: {rests}")
    if seen.missing:
        parts.append(f"without a topic: {_named(sorted(seen.missing))}")
    return "; ".join(parts)
