"""``cdc verify``: the verdicts on tables, with an exit code for each."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cdc_platform.cli.failures import Exit
from cdc_platform.cli.options import AsJson, InSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdc_platform.cli.output import Output
    from cdc_platform.core.model import Target
    from cdc_platform.core.settings import Settings
    from cdc_platform.core.source import Source
    from cdc_platform.report.verification import Table, Verification, Verified
    from cdc_platform.verify.finding import Check, Finding
    from cdc_platform.verify.verdict import Result

_EXITS: Final[Mapping[str, Exit]] = MappingProxyType(
    {"PASS": Exit.DONE, "FAIL": Exit.DIFFERENT, "UNKNOWN": Exit.UNPROVEN}
)
"""By the verdict's name."""


def verify(
    ctx: typer.Context,
    table: Annotated[
        list[str] | None,
        typer.Argument(metavar="TABLE", help="Only these collections.", show_default=False),
    ] = None,
    source: InSource = None,
    checks: Annotated[
        str | None,
        typer.Option(
            help="Only these, with commas between: row_counts, content, cdf_integrity, offsets_complete, "
            "lag, schema_consistent, delta_iceberg_parity.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every check of every table of every source, for CI: nothing narrows it."),
    ] = False,
    begin_anew: Annotated[
        bool,
        typer.Option(
            "--begin-anew",
            help="Accept the tables' past as it is: cdf_integrity, schema_consistent begin here.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Write a report that a person reads: one file.", show_default=False
        ),
    ] = None,
    incremental: Annotated[
        bool | None,
        typer.Option(
            "--incremental/--full",
            help="Read what has changed since the last proof, or every row; as the source declares it "
            "otherwise, which is every row if it says nothing.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove tables against their source, and check the lake by itself; of all sources, if none is named.

    Brings the lake forward first, unless a run is doing so. Each check says pass, fail, or unknown with its
    reason. Exit code 0 if all passed, 5 if one failed, 6 if none failed and one is unknown, or if there was
    nothing to check.

    \b
    Examples:
      cdc verify
      cdc verify orders customers --source shop
      cdc verify --checks content,lag --json
      cdc verify --all --json --report proof.html
      cdc verify --incremental --checks content
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output
    from cdc_platform.report.verification import Verification
    from cdc_platform.verify.verdict import Verdict

    out, given, tables = Output(as_json=as_json), settings(), table or []
    if everything:
        _nothing_beside(tables, source, checks)
    if report is not None:
        _writable(report)
    wanted = list(_wanted(ctx, tables, source, _checks(checks)))
    began, started = datetime.now(UTC), time.monotonic()
    how = _How(begin_anew, incremental)
    found = [_verified(out, given, *each, how) for each in wanted]
    told = Verification(_scope(tables, source, checks), began, time.monotonic() - started, tuple(found))
    if report is not None:
        _write(report, told)
    counts = {verdict.value: told.count(verdict) for verdict in Verdict}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    untold = [
        f"{each.source.name}: no table is known yet, nothing was checked" for each in found if not each.tables
    ]
    out.show(_document(told, counts), *untold, summary)
    raise typer.Exit(_EXITS[told.verdict.name])


@dataclass(frozen=True, slots=True)
class _How:
    """``incremental``: None: as each source declares it."""

    anew: bool
    incremental: bool | None


def _verified(
    out: Output, given: Settings, declared: Source, wanted: dict[Target, frozenset[Check]], how: _How
) -> Verified:
    """One source; each finding is shown as it comes."""
    from cdc_platform.operate import checking
    from cdc_platform.report.verification import verified

    findings: list[Finding] = []
    proofs: list[Result] = []
    if wanted:
        some = declared.verify.incremental if how.incremental is None else how.incremental
        for finding in checking.verify(
            given, declared, wanted, proofs.append, anew=how.anew, incremental=some
        ):
            findings.append(finding)
            out.running.print(_line(declared, finding), soft_wrap=True)
    return verified(declared, findings, proofs)


def _nothing_beside(tables: Sequence[str], source: str | None, checks: str | None) -> None:
    """``--all`` means all: a job that was narrowed by mistake would pass without having looked."""
    from cdc_platform.cli.failures import UsageError

    beside = [("TABLE", bool(tables)), ("--source", source is not None), ("--checks", checks is not None)]
    for name, given in beside:
        if given:
            raise UsageError(f"--all is everything, and {name} is less", remedy=f"leave out --all or {name}")


def _writable(report: Path) -> None:
    """Before anything is read: proofs take their time."""
    from cdc_platform.cli.failures import UsageError

    if not report.absolute().parent.is_dir() or report.is_dir():
        raise UsageError(
            "the report cannot be written there",
            where=str(report),
            remedy="name a file in a folder that exists",
        )


def _write(report: Path, told: Verification) -> None:
    """Whole, or not at all: a report of a verification that was interrupted would be half a verdict."""
    from cdc_platform.report.page import page

    draft = report.with_name(f".{report.name}.{os.getpid()}")
    draft.write_text(page(told), encoding="utf-8")
    draft.replace(report)


def _scope(tables: Sequence[str], source: str | None, checks: str | None) -> str:
    """What was asked for, in words."""
    which = f"table{'s' if len(tables) > 1 else ''} {', '.join(tables)}" if tables else "every table"
    where = f"the source {source}" if source else "every source"
    return f"{checks.replace(',', ', ') if checks else 'Every check'} of {which} of {where}."


def _checks(names: str | None) -> frozenset[Check]:
    from cdc_platform.cli.environment import unknown
    from cdc_platform.verify.finding import Check

    known = [check.value for check in Check]
    wanted = known if names is None else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise unknown("check", name, known, where="--checks")
    return frozenset(map(Check, wanted))


def _wanted(
    ctx: typer.Context, tables: Sequence[str], source: str | None, checks: frozenset[Check]
) -> Iterator[tuple[Source, dict[Target, frozenset[Check]]]]:
    """Each source with its tables that are meant. Raises UsageError for a table that no source has."""
    from cdc_platform.cli.environment import unknown
    from cdc_platform.cli.sources import chosen
    from cdc_platform.verify.finding import checks_of

    declared = chosen(ctx.obj, source)
    known = [name for each in declared for name in each.collections]
    for name in tables:
        if name not in known:
            raise unknown("table", name, known, where=f"source {', '.join(each.name for each in declared)}")
    for each in declared:
        targets = [target for target in each.targets if not tables or target.table in tables]
        # A check that was named and that a table does not have is a finding of its own: unknown.
        wanted = {target: checks & checks_of(each.formats_of(target.table)) or checks for target in targets}
        if wanted or not tables:
            yield each, wanted


def _line(source: Source, finding: Finding) -> str:
    from cdc_platform.verify.verdict import Verdict

    told = "" if finding.verdict is Verdict.PASS else f"\n    {finding.text}"
    verdict = finding.verdict.upper()
    return f"{verdict:<7} {source.name}.{finding.target} {finding.check} ({finding.seconds:.1f} s){told}"


def _document(told: Verification, counts: dict[str, int]) -> dict[str, object]:
    return {
        "verdict": told.verdict.value,
        "began": told.began.isoformat(timespec="seconds"),
        "seconds": round(told.seconds, 3),
        "scope": told.scope,
        "sources": [
            {"source": each.source.name, "engine": each.source.engine.value, "verdict": each.verdict.value}
            for each in told.sources
        ],
        "findings": [_told(table, finding) for table, finding in told.findings],
        "verdicts": counts,
    }


def _told(table: Table, finding: Finding) -> dict[str, object]:
    return {
        "source": table.source,
        "table": finding.table,
        "format": finding.format.value,
        "check": finding.check.value,
        "verdict": finding.verdict.value,
        "cause": finding.cause and finding.cause.value,
        "text": finding.text,
        "seconds": round(finding.seconds, 3),
        "facts": {fact.name: fact.value for fact in finding.facts},
    }
