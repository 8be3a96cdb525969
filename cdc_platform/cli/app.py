"""The command tree, and the one frame around every command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cdc_platform.cli import (
    connector,
    deadletters,
    failures,
    holding,
    rebuild,
    reconcile,
    repair,
    replay,
    run,
    schema,
    stack,
    tables,
    upkeep,
    verify,
)

_HELP = """Change data capture from MongoDB, PostgreSQL, MariaDB and MySQL into Delta and Iceberg tables.

\b
Examples:
  cdc stack up                   databases, Kafka, Connect and a schema registry, here
  cdc connector apply shop       capture the source `shop` into Kafka
  cdc run shop --once            bring its lake tables up to date
  cdc tables shop                see where they stand

\b
Exit codes:
{codes}
`cdc run` without --once, --seconds or --idle has no end of its own: Ctrl-C and SIGTERM end it with 0.

Settings are environment variables (CDC_*), also read from a file .env in the working directory; .env.example
lists them. CDC_DEBUG=1 adds a traceback to an error.
""".format(codes="\n".join(f"  {code:<4} {meaning}" for code, meaning in failures.MEANINGS.items()))


class Commands(TyperGroup):
    """The root of the tree: what its options, or a command, raise ends here."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        # Looked for in the raw words, because a command line that cannot be parsed must answer in JSON too.
        as_json = "--json" in args
        with _reported(as_json):
            ctx = super().make_context(info_name, args, *more, **extra)
        ctx.meta["as_json"] = as_json
        return ctx

    def invoke(self, ctx: Any) -> Any:
        with _reported(ctx.meta["as_json"]):
            return super().invoke(ctx)


@contextmanager
def _reported(as_json: bool) -> Iterator[None]:
    """An exception ends the program with a message and the exit code that belongs to it."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.TyperException) and not as_json:
            raise  # typer shows the usage with it
        raise typer.Exit(failures.report(error, as_json=as_json)) from None


# Plain help: the rich one takes longer to import than the whole answer may take.
app = typer.Typer(
    name="cdc",
    cls=Commands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback()
def root(
    ctx: typer.Context,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Folder of the declared sources, <FOLDER>/*/defs.yaml, instead of those Dagster loads.",
        ),
    ] = None,
) -> None:
    ctx.obj = sources


app.add_typer(stack.app, name="stack")
app.add_typer(connector.app, name="connector")
app.command("run")(run.run)
app.command("tables")(tables.tables)
app.command("verify")(verify.verify)
app.command("pause")(holding.pause)
app.command("resume")(holding.resume)
app.command("replay")(replay.replay)
app.command("rebuild")(rebuild.rebuild)
app.command("reconcile")(reconcile.reconcile)
app.command("repair")(repair.repair)
app.command("upkeep")(upkeep.upkeep)
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(schema.app, name="schema")


def main() -> None:
    """Entry point of the ``cdc`` script."""
    app()
