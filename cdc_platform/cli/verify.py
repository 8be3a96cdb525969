"""``cdc verify``: the verdicts on tables, with an exit code for each."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdc_platform.core.model import Target
    from cdc_platform.core.source import Source
    from cdc_platform.verify.finding import Check, Finding


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
            "lag, schema_consistent.",
            show_default=False,
        ),
    ] = None,
    begin_anew: Annotated[
        bool,
        typer.Option(
            "--begin-anew",
            help="Accept the tables' past as it is: cdf_integrity, schema_consistent begin here.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove tables against their source, and check the lake by itself; of all sources, if none is named.

    Brings the lake forward first, unless a run is doing so. Each check says pass, fail, or unknown with its
    reason. Exit code 0 if all passed, 5 if one failed, 6 if none failed and one is unknown.

    \b
    Examples:
      cdc verify
      cdc verify orders customers --source shop
      cdc verify --checks content,lag --json
    """
    from cdc_platform import checking
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.failures import Exit
    from cdc_platform.cli.output import Output
    from cdc_platform.verify.verdict import Verdict

    out, given, found = Output(as_json=as_json), settings(), []
    for declared, wanted in _wanted(ctx, table or [], source, _checks(checks)):
        for finding in checking.verify(given, declared, wanted, anew=begin_anew):
            found.append((declared, finding))
            out.running.print(_line(declared, finding), soft_wrap=True)
    verdicts = [finding.verdict for _, finding in found]
    counts = {verdict.value: verdicts.count(verdict) for verdict in Verdict}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    out.show({"findings": [_document(*each) for each in found], "verdicts": counts}, summary)
    if Verdict.FAIL in verdicts:
        raise typer.Exit(Exit.DIFFERENT)
    if Verdict.UNKNOWN in verdicts:
        raise typer.Exit(Exit.UNPROVEN)


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

    declared = chosen(ctx.obj, source)
    known = [name for each in declared for name in each.collections]
    for name in tables:
        if name not in known:
            raise unknown("table", name, known, where=f"source {', '.join(each.name for each in declared)}")
    for each in declared:
        targets = [target for target in each.targets if not tables or target.table in tables]
        if targets:
            yield each, dict.fromkeys(targets, checks)


def _line(source: Source, finding: Finding) -> str:
    from cdc_platform.verify.verdict import Verdict

    told = "" if finding.verdict is Verdict.PASS else f"\n    {finding.text}"
    verdict = finding.verdict.upper()
    return f"{verdict:<7} {source.name}.{finding.target} {finding.check} ({finding.seconds:.1f} s){told}"


def _document(source: Source, finding: Finding) -> dict[str, object]:
    return {
        "source": source.name,
        "table": finding.table,
        "format": finding.format.value,
        "check": finding.check.value,
        "verdict": finding.verdict.value,
        "cause": finding.cause and finding.cause.value,
        "text": finding.text,
        "seconds": round(finding.seconds, 3),
        "facts": {fact.name: fact.value for fact in finding.facts},
    }
