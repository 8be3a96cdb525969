"""What to say of a table that is not there."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from cdc_platform.core.model import Kind, Target
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.notes import Anchor, Extent, Notes
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.verdict import Cause, Verdict

CHANGELOG_ALONE: Final = frozenset({Check.LAG, Check.OFFSETS_COMPLETE, Check.DELTA_ICEBERG_PARITY})
"""Checks that need no current state."""


def absent(
    target: Target, check: Check, kinds: Set[Kind], place: Callable[[Kind], Place], notes: Notes
) -> Finding | None:
    """The finding if a table is not there: a fault if an earlier check has seen it. ``kinds``: those that the
    table is declared to have."""

    def found(verdict: Verdict, what: str, cause: Cause | None = None) -> Finding:
        return Finding(target.table, check, verdict, what, cause, format=target.format)

    if Kind.CURRENT not in kinds and check not in CHANGELOG_ALONE:
        what = "The table is declared to have no key: it has a changelog, and no current state to check."
        return found(Verdict.UNKNOWN, what, Cause.NO_KEY)
    for kind in (kind for kind in Kind if kind in kinds):
        table = place(kind).table
        if table.exists():
            continue
        seen = notes.read(kind, Anchor) if kind is Kind.CURRENT else notes.read(kind, Extent)
        if seen is not None:
            what = f"The {kind} table is gone: the last check saw version {seen.version} at {table.uri}."
            return found(Verdict.FAIL, what)
        what = f"The {kind} table does not exist yet: nothing was replicated into {table.uri}."
        return found(Verdict.UNKNOWN, what, Cause.NOT_THERE)
    return None
