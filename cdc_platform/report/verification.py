"""A verification as a whole: what was asked, when, and what every check of every table said.

Invariants
- The verdict is ``pass`` only if there is at least one finding and every finding passed; a source of which
  nothing could be checked makes it ``unknown``.
- Nothing is left out: what is shown of a table is what its findings and its proof say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from cdc_platform.core.model import Format, Kind, Lag, Target
from cdc_platform.core.source import Source
from cdc_platform.verify.finding import PROOF, Check, Finding, Value
from cdc_platform.verify.verdict import Result, Verdict

LAG_FACTS: Final = ("_lag_p50_seconds", "_lag_p95_seconds", "_lag_max_seconds")
"""What the facts of a lake table's lag end with."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table in one format. ``proof``: what was compared with the source, if that was asked for."""

    source: str
    target: Target
    findings: tuple[Finding, ...]
    proof: Result | None = None

    @property
    def name(self) -> str:
        return self.target.table

    @property
    def format(self) -> Format:
        return self.target.format

    @property
    def verdict(self) -> Verdict:
        return worst([each.verdict for each in self.findings])

    @property
    def anchor(self) -> str:
        """Of its part of the page."""
        return f"{self.source}.{self.name}"

    @property
    def seconds(self) -> float:
        """Both checks of a proof took the same time, once."""
        apart = [each.seconds for each in self.findings if each.check not in PROOF]
        proof = [each.seconds for each in self.findings if each.check in PROOF]
        return sum(apart) + max(proof, default=0.0)

    @property
    def lag(self) -> list[tuple[Kind, Lag]]:
        """By what the check ``lag`` found; of each lake table that has rows of late."""
        facts = self.facts(Check.LAG)
        found = ((kind, [facts.get(f"{kind}{each}") for each in LAG_FACTS]) for kind in Kind)
        return [
            (kind, Lag(*(each for each in numbers if isinstance(each, float))))
            for kind, numbers in found
            if all(isinstance(each, float) for each in numbers)
        ]

    def finding(self, check: Check) -> Finding | None:
        return next((each for each in self.findings if each.check is check), None)

    def facts(self, check: Check) -> Mapping[str, Value]:
        found = self.finding(check)
        return {} if found is None else {fact.name: fact.value for fact in found.facts}


@dataclass(frozen=True, slots=True)
class Verified:
    """One source and its tables, those of one name together."""

    source: Source
    tables: tuple[Table, ...]

    @property
    def verdict(self) -> Verdict:
        return worst([each.verdict for each in self.tables])

    @property
    def by_name(self) -> list[tuple[str, list[Table]]]:
        """Each table with its formats side by side."""
        return [(name, list(found)) for name, found in groupby(self.tables, key=lambda each: each.name)]


@dataclass(frozen=True, slots=True)
class Saying:
    """What these checks of these tables said, in the same words. ``finding``: the first of them."""

    finding: Finding
    tables: tuple[Table, ...]
    checks: tuple[Check, ...]

    def with_also(self, table: Table, check: Check) -> Saying:
        tables = self.tables if table in self.tables else (*self.tables, table)
        return Saying(self.finding, tables, self.checks if check in self.checks else (*self.checks, check))


@dataclass(frozen=True, slots=True)
class Verification:
    """``scope``: what was asked for, in words. ``seconds``: how long it took."""

    scope: str
    began: datetime
    seconds: float
    sources: tuple[Verified, ...]

    @property
    def verdict(self) -> Verdict:
        return worst([each.verdict for each in self.sources])

    @property
    def findings(self) -> list[tuple[Table, Finding]]:
        return [(table, each) for table in self.tables for each in table.findings]

    @property
    def tables(self) -> list[Table]:
        return [table for source in self.sources for table in source.tables]

    @property
    def checks(self) -> list[Check]:
        """Those that were made."""
        made = {finding.check for _, finding in self.findings}
        return [check for check in Check if check in made]

    def count(self, verdict: Verdict) -> int:
        return sum(finding.verdict is verdict for _, finding in self.findings)

    def saying(self, verdict: Verdict) -> list[Saying]:
        """What was said with this verdict: one proof answers two checks, and tables at rest all say the
        same."""
        told: dict[str, Saying] = {}
        for table, finding in self.findings:
            if finding.verdict is verdict:
                said = told.get(finding.text, Saying(finding, (), ()))
                told[finding.text] = said.with_also(table, finding.check)
        return list(told.values())


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Nothing at all is no pass."""
    order = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)
    return min(verdicts, key=order.index, default=Verdict.UNKNOWN)


def verified(source: Source, findings: Sequence[Finding], proofs: Sequence[Result]) -> Verified:
    """The findings of one source, in the order of its declaration."""
    return Verified(source, tuple(_tables(source, findings, {each.target: each for each in proofs})))


def _tables(source: Source, findings: Sequence[Finding], proofs: Mapping[Target, Result]) -> Iterator[Table]:
    for target in source.targets:
        found = [each for check in Check for each in findings if (each.target, each.check) == (target, check)]
        if found:
            yield Table(source.name, target, tuple(found), proofs.get(target))
