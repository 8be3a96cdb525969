"""Checks while a service is down: what needs it is unknown at once, and the rest is looked at.

Without this each table would wait for the service by itself, a few side by side: minutes for a large source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cdc_platform.connect.collections import identities
from cdc_platform.core.errors import Transient
from cdc_platform.core.masking import masked
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import MARKERS, Source
from cdc_platform.operate.checking import Wanted, verify
from cdc_platform.orchestrate.dependency import dependency
from cdc_platform.platform import log_of
from cdc_platform.verify.finding import PROOF, Check, Finding, said
from cdc_platform.verify.verdict import Cause, Result, Verdict


def answered(
    settings: Settings, source: Source, wanted: Wanted, proven: Callable[[Result], None]
) -> Iterator[Finding]:
    """As ``checking.verify``: exactly one finding for every check that is asked for."""
    if (down := _kafka(settings, source)) is not None:
        yield from _unknown(wanted, frozenset(Check), Cause.TABLE_UNREADABLE, down)
        return
    if (
        any(checks & PROOF for checks in wanted.values())
        and (down := _database(settings, source)) is not None
    ):
        yield from _unknown(wanted, PROOF, Cause.SOURCE_UNREACHABLE, down)
        wanted = {target: rest for target, checks in wanted.items() if (rest := checks - PROOF)}
    if wanted:
        yield from verify(settings, source, wanted, proven, incremental=True)


def _kafka(settings: Settings, source: Source) -> Transient | None:
    log = log_of(settings)
    try:
        dependency(settings, "Kafka", settings.kafka_bootstrap).call(
            lambda: log.streams([source.topic(MARKERS)])
        )
    except Transient as error:
        return error
    return None


def _database(settings: Settings, source: Source) -> Transient | None:
    try:
        dependency(settings, source.engine.called, masked(source.uri)).call(lambda: identities(source))
    except Transient as error:
        return error
    return None


def _unknown(wanted: Wanted, among: frozenset[Check], cause: Cause, error: Transient) -> Iterator[Finding]:
    for target, checks in wanted.items():
        for check in Check:
            if check in checks & among:
                text, stored = said(error), target.format
                yield Finding(target.table, check, Verdict.UNKNOWN, text, cause, format=stored)
