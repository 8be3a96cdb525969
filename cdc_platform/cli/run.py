"""``cdc run``: Kafka to the lake, without Dagster."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import Annotated

import typer

from cdc_platform.cli.options import AsJson


def run(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A declared source.")],
    *,
    once: Annotated[bool, typer.Option("--once", help="End where the topics end now.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds.")] = None,
    idle: Annotated[float | None, typer.Option(min=0.1, help="End after so long without a record.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this collection; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a source's lake tables up to date, or keep them so, without Dagster.

    Prints a line per commit. Without --once, --seconds or --idle it runs until Ctrl-C or SIGTERM. These, and
    the end of --seconds, end it after the present commit: the changelogs then have all that was read, the
    current tables are at most one merge behind. A second signal ends it at once; nothing is lost either way.
    Exit code 4 if a table stopped. With CDC_LOG_FORMAT=json the lines are structured logs, on stderr.

    \b
    Examples:
      cdc run shop --once
      cdc run shop --seconds 600 --idle 30 --table orders --table customers
    """
    import uuid

    from cdc_platform.cli.draining import drain_source
    from cdc_platform.cli.environment import settings, unknown
    from cdc_platform.cli.failures import UsageError
    from cdc_platform.cli.journal import journal
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import chosen
    from cdc_platform.replicate import Until

    if once and (seconds or idle):
        raise UsageError("--once ends at the topics' ends", remedy="leave out --seconds and --idle")
    [declared] = chosen(ctx.obj, source)
    for name in table or ():
        if name not in declared.collections:
            raise unknown("table", name, list(declared.collections), where=f"source {source}")
    forever = float("inf")
    until = Until(caught_up=once, idle=idle or forever, seconds=seconds or forever)
    given, out = settings(), Output(as_json=as_json)
    with journal(source, run_id=uuid.uuid4().hex) as told:
        code = drain_source(given, declared, table or declared.collections, until, out, told)
    if code:
        raise typer.Exit(code)
