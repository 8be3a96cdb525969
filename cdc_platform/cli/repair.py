"""``cdc repair``: rows that are not what the source has."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource

if TYPE_CHECKING:
    from cdc_platform.operate.repairing import Repaired

SHOWN = 20


def repair(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A table of the source.")],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Only this row, by its _key in the lake; repeatable.", show_default=False),
    ] = None,
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Bring rows of a table to what its source has: those that a proof finds different, or those named.

    Proves the table, has the connector read the differing rows again while it streams, deletes through the
    topic what the source has no more, and proves the table once more. Rows that the current table alone lost
    or has wrong are mended, too. A damaged changelog is not: cdc rebuild does that. Exit codes as of cdc
    verify.

    \b
    Examples:
      cdc repair orders
      cdc repair orders --source billing --key '{"id":7}'
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.failures import Exit
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.operate.repairing import repair as repair_table
    from cdc_platform.verify.verdict import Verdict

    declared, out = only(ctx.obj, source, [table]), Output(as_json=as_json)
    name = table_of(declared, table)
    found = repair_table(settings(), declared, name, key or (), out.say)
    out.show(_document(declared.name, name, found), "\n".join(_lines(name, found)))
    if found.verdict is Verdict.FAIL:
        raise typer.Exit(Exit.DIFFERENT)
    if found.verdict is Verdict.UNKNOWN:
        raise typer.Exit(Exit.UNPROVEN)


def _lines(table: str, found: Repaired) -> list[str]:
    from cdc_platform.verify.verdict import Verdict

    lines = [f"{key} {done}" for key, done in sorted(found.keys.items())[:SHOWN]]
    if len(found.keys) > SHOWN:
        lines.append(f"and {len(found.keys) - SHOWN:,} more")
    if found.more:
        lines.append("there are more differing keys than one repair takes: repair again")
    if not found.keys:
        lines.append("no row was asked for")
    lines += [f"{each.verdict.upper():<7} {each.text}" for each in found.results]
    if found.verdict is Verdict.FAIL and not found.more:
        lines.append(
            f"what is left is not mended by reading rows again: if the changelog is damaged (cdc verify "
            f"{table} says so), cdc rebuild makes the table anew"
        )
    return lines


def _document(source: str, table: str, found: Repaired) -> dict[str, object]:
    return {
        "source": source,
        "table": table,
        "keys": [{"key": key, "done": done.name.lower()} for key, done in sorted(found.keys.items())],
        "more": found.more,
        "verdict": found.verdict.value,
        "proofs": [
            {
                "format": each.format.value,
                "verdict": each.verdict.value,
                "cause": each.cause and each.cause.value,
                "text": each.text,
            }
            for each in found.results
        ],
    }
