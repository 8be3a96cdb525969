"""``cdc pause`` and ``cdc resume``: tables that are neither read nor merged for a while."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource

Tables = Annotated[list[str], typer.Argument(metavar="TABLE…", help="Collections of the source.")]


def pause(
    ctx: typer.Context,
    tables: Tables,
    reason: Annotated[str, typer.Option(help="Shown to whoever wonders.")] = "paused by hand",
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Hold tables back: runs that drain now stop reading and merging them within a second.

    Nothing is lost: a table goes on from its own offsets, as long as Kafka retains what it has not read.

    Example: cdc pause orders --reason "moving the disk"
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.platform import holds, utc_now

    declared = only(ctx.obj, source, tables)
    names = [table_of(declared, each) for each in tables]
    made = {name: holds(settings(), declared).hold(name, reason, utc_now()) for name in names}
    document = {"held": {name: {"reason": hold.reason, "since": hold.since} for name, hold in made.items()}}
    lines = [f"{name} is {hold.text}" for name, hold in made.items()]
    Output(as_json=as_json).show(document, "\n".join(lines))


def resume(ctx: typer.Context, tables: Tables, source: InSource = None, as_json: AsJson = False) -> None:
    """Let tables go on.

    Example: cdc resume orders
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.platform import holds

    declared = only(ctx.obj, source, tables)
    names = [table_of(declared, each) for each in tables]
    released = {name: holds(settings(), declared).release(name) for name in names}
    lines = [f"{name} {'goes on' if was else 'was not paused'}" for name, was in released.items()]
    Output(as_json=as_json).show({"released": released}, "\n".join(lines))
