"""The checks of a source's tables, run in one way for Dagster, the shell and the tests.

Invariants
- For every check that is asked for there is exactly one finding, whatever happens: a service that is down, a
  table that is not there or cannot be read is a verdict, too, and no other table's.
- Lag is looked at first, as it was found; then the table is proven, for which the lake is brought forward if
  no run is doing so; then what is in the lake by itself.
- Nothing here knows Dagster.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Final

import polars as pl

from cdc_platform.core.errors import CdcError, MovedBack, Terminal
from cdc_platform.core.history import History
from cdc_platform.core.model import Kind, Target
from cdc_platform.core.offsets import Stream
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.operate.both_formats import parity
from cdc_platform.operate.capturing import connector_of
from cdc_platform.operate.catching_up import catch_up
from cdc_platform.operate.pulse import Pulse, by_marker
from cdc_platform.operate.retelling import topic_of
from cdc_platform.platform import holds, log_of, notes, place, replica, subject, utc_now
from cdc_platform.prove import prove_alike
from cdc_platform.replicate import Replica
from cdc_platform.replicate.hold import Hold
from cdc_platform.verify.absent import absent
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.capturing import Connector
from cdc_platform.verify.complete import offsets_complete
from cdc_platform.verify.finding import PROOF, Check, Finding, combined, of_proof, said
from cdc_platform.verify.integrity import cdf_integrity
from cdc_platform.verify.lag import Stage, lag_check
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.parity import Side
from cdc_platform.verify.schema import schema_consistent
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.subject import Past, Subject
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.opening import Truths, truths
from cdc_platform.verify.unreadable import unreadable
from cdc_platform.verify.verdict import Cause, Result, Verdict

WORKERS: Final = 4
"""Tables looked at side by side."""

HELD_SECONDS: Final = 5.0
"""A proof waits no longer than this for a table that an operator holds back."""

Wanted = Mapping[Target, frozenset[Check]]
"""Tables in a format, and which checks of them."""


def verify(
    settings: Settings,
    source: Source,
    wanted: Wanted,
    proven: Callable[[Result], None] = lambda _: None,
    *,
    anew: bool = False,
    incremental: bool = False,
) -> Iterator[Finding]:
    """The findings, a table's together, as they come. ``proven``: told of each proof, by the caller's thread.
    ``anew``: what earlier checks saw does not count any more, the tables' past begins now. ``incremental``:
    of tables that were proven in full within ``full_hours`` only what has changed is read.

    Interrupted, it waits for the reads and commits that are under way, and for nothing else.
    """
    log = log_of(settings)
    tables = dict.fromkeys(target.table for target in wanted)
    try:
        streams = log.streams([source.topic(name) for name in tables])
    except CdcError as error:
        for target, checks in wanted.items():
            yield from _unknown(target, checks, Cause.TABLE_UNREADABLE, said(error))
        return
    asked = any(Check.LAG in checks for checks in wanted.values())
    connector = connector_of(settings, source) if asked else None
    stop = Event()
    with truths(source) as truth_of, ThreadPoolExecutor(max_workers=WORKERS) as pool:
        pulse = Pulse(time.monotonic)
        reach = _Reach(settings, source, log, truth_of, connector, pulse, stop, anew, incremental)
        work = [
            pool.submit(
                _findings,
                reach,
                streams.get(source.topic(name)),
                {target: checks for target, checks in wanted.items() if target.table == name},
            )
            for name in tables
        ]
        try:
            for done in as_completed(work):
                found, results = done.result()
                for result in results:
                    proven(result)
                yield from found
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What all tables of a source share. ``stop``: set when nobody waits for the findings any more."""

    settings: Settings
    source: Source
    log: KafkaLog
    truth_of: Truths
    connector: Connector | None
    pulse: Pulse
    stop: Event
    anew: bool
    incremental: bool

    def sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Terminal("interrupted", remedy="verify again")


def _findings(reach: _Reach, stream: Stream | None, wanted: Wanted) -> tuple[list[Finding], list[Result]]:
    """Of one table, in all formats that are wanted."""
    name = next(iter(wanted)).table
    if stream is None:
        missing = (
            f"There is no topic {reach.source.topic(name)}. What to do: deploy the connector, cdc connector "
            f"apply {reach.source.name}."
        )
        unknown = [_unknown(each, checks, Cause.NOT_THERE, missing) for each, checks in wanted.items()]
        return [finding for each in unknown for finding in each], []
    tables = {
        target: _Table(reach, replica(reach.settings, reach.source, name, stream, stored=target.format))
        for target in wanted
    }
    found = [tables[each].look(Check.LAG) for each, checks in wanted.items() if Check.LAG in checks]
    proof, results = _proofs(reach, [tables[each] for each, checks in wanted.items() if checks & PROOF])
    found += [finding for finding in proof if finding.check in wanted[finding.target]]
    found += [
        tables[target].look(check)
        for target, checks in wanted.items()
        for check in Check
        if check in checks - PROOF - {Check.LAG, Check.DELTA_ICEBERG_PARITY}
    ]
    found += _parity(reach, stream, [each for each in wanted if Check.DELTA_ICEBERG_PARITY in wanted[each]])
    hold = holds(reach.settings, reach.source).held(name)
    return [_with_hold(finding, hold) for finding in found], results


def _parity(reach: _Reach, stream: Stream, targets: Sequence[Target]) -> list[Finding]:
    """One look at both formats, told of each that is wanted."""
    if not targets:
        return []
    name, began = targets[0].table, time.monotonic()
    formats = reach.source.formats_of(name)
    tables = [_Table(reach, replica(reach.settings, reach.source, name, stream, stored=f)) for f in formats]
    found = parity(name, tables)
    seconds = time.monotonic() - began
    return [replace(found, format=target.format, seconds=seconds) for target in targets]


def _proofs(reach: _Reach, tables: Sequence[_Table]) -> tuple[list[Finding], list[Result]]:
    """All formats against one reading of the source."""
    if not tables:
        return [], []
    settings = reach.settings
    held = holds(settings, reach.source).held(tables[0].replica.name) is not None
    try:
        with closing(reach.truth_of(tables[0].replica.name)) as truth:
            results = prove_alike(
                [each.subject(truth) for each in tables],
                marker=uuid.uuid4().hex,
                deadline=min(HELD_SECONDS, settings.proof_seconds) if held else settings.proof_seconds,
                clock=time.monotonic,
                sleep=reach.sleep,
                drains={each.replica.format: each.catch_up for each in tables},
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        if len(tables) > 1:  # which of them could not be read is found by proving each alone
            alone = [_proofs(reach, [each]) for each in tables]
            return [f for found, _ in alone for f in found], [r for _, results in alone for r in results]
        return [tables[0].unreadable(check, error) for check in Check if check in PROOF], []
    return [finding for result in results for finding in of_proof(result)], results


@dataclass(frozen=True, slots=True)
class _Table:
    """One table under examination."""

    reach: _Reach
    replica: Replica

    @property
    def _notes(self) -> Notes:
        return notes(self.reach.settings, self.reach.source, self.replica.target)

    @property
    def _kinds(self) -> frozenset[Kind]:
        return self.reach.source.kinds_of(self.replica.name)

    def _place(self, kind: Kind) -> Place:
        return place(self.reach.settings, self.reach.source, self.replica.name, kind, self.replica.format)

    @property
    def past(self) -> Past:
        """For its proof."""
        reach, declared = self.reach, self.reach.source.verify
        every = declared.every if reach.incremental and not reach.anew else None
        return Past(self._notes, self._place(Kind.CURRENT).history, utc_now, every, declared.prefilter)

    def look(self, check: Check) -> Finding:
        """A check that needs no source."""
        began = time.monotonic()
        try:
            found = self.absent(check) or self._looked(check)
        except MovedBack as error:
            found = self._found(check, Verdict.FAIL, said(error))
        except CdcError as error:
            [found] = _unknown(self.replica.target, {check}, Cause.TABLE_UNREADABLE, said(error))
        except (pl.exceptions.PolarsError, OSError) as error:
            found = self.unreadable(check, error)
        return replace(found, seconds=time.monotonic() - began, format=self.replica.format)

    def _looked(self, check: Check) -> Finding:
        name, stream, now = self.replica.name, self.replica.stream, utc_now
        changelog, current = self._place(Kind.CHANGELOG), self._place(Kind.CURRENT)
        if check is Check.LAG:
            reach, limit = self.reach, self.reach.source.lag_seconds
            assert reach.connector is not None
            ask = partial(by_marker, reach.truth_of, name, self.subject, limit, reach.sleep)
            stage = Stage(stream, reach.log, reach.connector, limit, now, partial(reach.pulse.take, ask))
            return lag_check(name, changelog, current if Kind.CURRENT in self._kinds else None, stage)
        if check is Check.OFFSETS_COMPLETE:
            return offsets_complete(name, changelog, self._topic())
        known = name, changelog, current, stream, self._notes, now()
        if check is Check.SCHEMA_CONSISTENT:
            return schema_consistent(*known, anew=self.reach.anew)
        return cdf_integrity(*known, anew=self.reach.anew, topic=self._topic)

    def subject(self, truth: Truth) -> Subject:
        """What its proof compares, and how to find where a key went wrong."""
        proven = subject(self.reach.source, self.replica, self.reach.log, truth)
        return replace(proven, topic=self._topic, past=self.past)

    def side(self) -> Side:
        """As one of two formats."""
        stream, opened = self.replica.stream, None
        if Kind.CURRENT in self._kinds:
            opened = Opened(self.replica.current, self.replica.current.open(stream))
        changelog = Opened(self.replica.changelog, self.replica.changelog.open(stream))
        return Side(self.replica.format, changelog, opened, self._topic)

    def _topic(self) -> Topic:
        return topic_of(self.reach.settings, self.replica, self.reach.log)

    def absent(self, check: Check) -> Finding | None:
        return absent(self.replica.target, check, self._kinds, self._place, self._notes)

    @property
    def histories(self) -> list[History]:
        return [self._place(kind).history for kind in self._kinds]

    def unreadable(self, check: Check, error: Exception) -> Finding:
        found = combined(self.replica.name, check, [unreadable(self.histories, error)])
        return replace(found, format=self.replica.format)

    def _found(self, check: Check, verdict: Verdict, what: str, cause: Cause | None = None) -> Finding:
        return Finding(self.replica.name, check, verdict, what, cause, format=self.replica.format)

    def catch_up(self) -> None:
        r = self.reach
        catch_up(r.settings, r.source, [self.replica], r.log, r.stop.is_set)


def _unknown(target: Target, checks: Collection[Check], cause: Cause, text: str) -> Iterator[Finding]:
    for check in (check for check in Check if check in checks):
        yield Finding(target.table, check, Verdict.UNKNOWN, text, cause, format=target.format)


def _with_hold(finding: Finding, hold: Hold | None) -> Finding:
    if hold is None or finding.verdict is Verdict.PASS:
        return finding
    since = f"{hold.since:%Y-%m-%d %H:%M:%S} UTC"
    return replace(finding, text=f"{finding.text} The table is held back since {since}: {hold.reason}.")
