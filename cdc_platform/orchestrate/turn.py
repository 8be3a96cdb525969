"""When a source needs a run, and of which tables. Pure.

Invariants
- One run drains, at most one more waits to relieve it.
- A successor takes all tables, not those that lag at this moment: one that happens to be caught up would
  otherwise stay without a run until the next.
- A table that is held back, or rests after a failure, starts no run and does not end one. A held one is still
  part of the runs that others need: it goes on in the middle of a run when it is released.
- A table that the present run does not drain (it is new, it failed and has rested) is not left to wait for
  that run's end: a successor of all tables relieves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HAND_OVER = 8.0
"""Seconds before a run's end at which its successor is started: start-up takes about 3 s, a tick 5 s."""


@dataclass(frozen=True, slots=True)
class Working:
    """A run that is going on. ``started``: epoch seconds, None before. ``tables``: those it still drains."""

    run_id: str
    started: float | None
    tables: frozenset[str]

    def is_old(self, now: float, seconds: float) -> bool:
        return self.started is not None and now - self.started >= seconds - HAND_OVER


@dataclass(frozen=True, slots=True)
class Situation:
    """What one tick knows. ``tables``: all of the source's. ``behind``: offsets that the lake lacks, for the
    tables looked at that have a topic. ``held``: reasons by table. ``resting``: until when, epoch seconds.
    """

    tables: Sequence[str]
    runs: Sequence[Working]
    behind: Mapping[str, int]
    missing: frozenset[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    resting: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """``tables``: of the run to start; none if no run is needed. ``reason``: why, or why not."""

    tables: tuple[str, ...]
    reason: str


def worth_looking(
    tables: Sequence[str], runs: Sequence[Working], now: float, seconds: float
) -> tuple[str, ...]:
    """The tables whose lag decides whether a run is needed: those that no young run drains."""
    if len(runs) > 1:
        return ()
    if not runs or runs[0].is_old(now, seconds):
        return tuple(tables)
    return tuple(name for name in tables if name not in runs[0].tables)


def turn(seen: Situation, now: float, seconds: float) -> Turn:
    """``now``: epoch seconds; ``seconds``: how long a run drains."""
    able = tuple(name for name in seen.tables if name not in seen.missing and name not in seen.resting)
    needy = [name for name in able if seen.behind.get(name) and name not in seen.held]
    match seen.runs:
        case []:
            needed = f"behind: {', '.join(needy)}" if needy else ""
            otherwise = "the lake stands at the ends of all topics"
        case [run]:
            needed = _relief(run, needy, now, seconds)
            otherwise = f"run {run.run_id[:8]} is {'starting' if run.started is None else 'draining'}"
        case _:
            needed, otherwise = "", "a run is draining and its successor is ready"
    return Turn(able, needed) if needed else Turn((), _with_exceptions(otherwise, seen, now))


def _relief(run: Working, needy: Sequence[str], now: float, seconds: float) -> str:
    """Why a run needs a successor now, empty if it does not."""
    if run.started is None:
        return ""
    if run.is_old(now, seconds):
        return f"run {run.run_id[:8]} is nearly out of time"
    waiting = [name for name in needy if name not in run.tables]
    return f"run {run.run_id[:8]} does not drain {', '.join(waiting)}" if waiting else ""


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
        parts.append(f"without a topic: {', '.join(sorted(seen.missing))}")
    return "; ".join(parts)
