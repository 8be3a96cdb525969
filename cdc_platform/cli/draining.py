"""Drain one source from the shell: it tells of every commit, and ends in an orderly way.

Invariant: a signal never ends the process inside a commit; it asks the drain to stop, which finishes what it
is doing. The second signal has its usual effect: what that interrupts, the tables' own offsets repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cdc_platform.cli.failures import tell
from cdc_platform.cli.output import Output
from cdc_platform.cli.progress import Progress, commit_line
from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Kind, Receipt, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.logs import Journal
from cdc_platform.platform import holds, log_of, replicas
from cdc_platform.replicate import Drain, Failure, Until
from cdc_platform.replicate.fence import fence_if_free
from cdc_platform.signals import noted

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at whether a signal came; also how often the summary moves."""


class Teller(Protocol):
    """Who is told of what happens while it happens: a person, or a collector of logs (``logs.Journal``)."""

    def committed(self, receipt: Receipt) -> None: ...

    def stopped(self, target: Target, kind: Kind, error: CdcError) -> None: ...


class Lines:
    """Lines for a person."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def committed(self, receipt: Receipt) -> None:
        self._console.print(commit_line(receipt), soft_wrap=True)

    def stopped(self, target: Target, kind: Kind, error: CdcError) -> None:
        del error  # told in full at the end
        self._console.print(f"{target} {kind} stopped; the other tables go on")


def drain_source(
    settings: Settings,
    source: Source,
    collections: Sequence[str],
    until: Until,
    out: Output,
    journal: Journal | None = None,
) -> int:
    """Drain until ``until`` or a signal, print what happened, and return the exit code.

    ``journal``: is told of every commit and failure, in place of a person. Raises Transient if Kafka does
    not answer, Terminal if the source was never deployed.
    """
    log = log_of(settings)
    wanted = replicas(settings, source, log, dict.fromkeys(collections, frozenset(Kind)))
    _remark_other_run(settings, source, journal.remarked if journal else out.say)
    progress = Progress(source.name, until, time.monotonic())
    held = holds(settings, source)
    for name, hold in held.all().items():
        if name in collections:
            (journal.remarked if journal else out.say)(
                f"{name} is {hold.text}; it goes on after: cdc resume {name}"
            )

    def is_held(table: str) -> bool:
        return held.held(table) is not None

    with noted(progress.note), Drain(wanted, log, until, held=is_held) as drain:
        if journal is None:
            _follow(drain, progress, Lines(out.running), out.running)
        else:
            journal.began(tables=list(collections))
            _follow(drain, progress, journal)
    now = time.monotonic()
    if journal is not None:
        journal.ended(progress.ended(now), seconds=round(now - progress.began, 3), **progress.totals())
    seen = [progress.table()] if progress.tallies else []
    out.show(progress.document(now), *seen, f"{progress.summary(now)}: {progress.ended(now)}")
    if (error := progress.error()) and not out.as_json:
        tell(error)
    return progress.exit_code()


def _follow(drain: Drain, progress: Progress, teller: Teller, console: Console | None = None) -> None:
    """``console``: where the summary moves, if it is a terminal."""
    with Live(console=console, transient=True) if console and console.is_terminal else nullcontext() as live:
        while drain.running:
            if progress.signal is not None:
                drain.stop()
            match drain.take(timeout=LOOK_EVERY):
                case Receipt() as receipt:
                    progress.add(receipt)
                    teller.committed(receipt)
                case Failure() as failure:
                    progress.failures.append(failure)
                    teller.stopped(failure.target, failure.kind, failure.error)
            if live:
                live.update(Text(progress.summary(time.monotonic())))


def _remark_other_run(settings: Settings, source: Source, say: Callable[[str], None]) -> None:
    # Not held while draining: Dagster's runs would wait for a run that may never end.
    with fence_if_free(settings, source) as free:
        if free:
            return
    say(f"another run drains {source.name}, too; each change is applied once, by either of the two")
