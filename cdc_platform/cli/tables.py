"""``cdc tables``: where the lake tables stand."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, SourceName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_platform.cli.inventory import TableState


def tables(
    ctx: typer.Context,
    source: SourceName = None,
    schema: Annotated[bool, typer.Option("--schema", help="Show every table's columns, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show each lake table's version, rows and offsets, and how far it is behind Kafka.

    LAG is in offsets, an upper bound of the records to read. PROVEN THROUGH is the source's time up to which
    a current state is proven to equal it: only a proof that passes moves it (cdc verify). Exit code 1 if a
    table cannot be read.

    Example: cdc tables shop --schema
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.inventory import take_inventory
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import chosen

    out = Output(as_json=as_json)
    found = take_inventory(settings(), chosen(ctx.obj, source))
    shown = [_overview(found.tables), *(_columns(found.tables) if schema else ())]
    document = {
        "kafka": found.kafka,
        "tables": [each.document(schema=schema) for each in found.tables],
    }
    out.show(document, *shown)
    if found.kafka.error:
        out.say(f"lag is unknown: {found.kafka.error}")
    if found.kafka.missing:
        out.say(f"no topic {', '.join(found.kafka.missing)}; the source is deployed by: cdc connector apply")
    broken = [each for each in found.tables if each.problem]
    for each in broken:
        out.say(f"{each.name} ({each.format} {each.kind}): {each.problem}")
    if broken:
        raise typer.Exit(1)


def _overview(found: Sequence[TableState]) -> object:
    from cdc_platform.cli.output import grid, number, offsets

    rows = [
        (
            each.source,
            each.name,
            each.format,
            each.kind,
            number(each.version),
            number(each.rows),
            offsets(each.offsets),
            number(each.lag),
            _moment(each.proven_through),
            each.uri if each.exists else f"(not yet) {each.uri}",
        )
        for each in found
    ]
    headings = (
        "SOURCE",
        "TABLE",
        "FORMAT",
        "KIND",
        "VERSION",
        "ROWS",
        "OFFSETS",
        "LAG",
        "PROVEN THROUGH",
        "URI",
    )
    return grid(headings, rows, right="VERSION ROWS LAG")


def _moment(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _columns(found: Sequence[TableState]) -> list[object]:
    from cdc_platform.cli.output import grid

    return [
        grid((f"{each.source}.{each.name} {each.format} {each.kind}", "TYPE"), each.columns.items())
        for each in found
        if each.columns
    ]
