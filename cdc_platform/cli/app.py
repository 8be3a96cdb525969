"""The command tree, and the one frame around every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cdc_platform.cli import connector, failures, run, stack, tables

_HELP = """Change data capture from MongoDB into Delta tables.

\b
Examples:
  cdc stack up                   MongoDB, Kafka and Connect on this machine
  cdc connector apply shop       capture the source `shop` into Kafka
  cdc run shop --once            bring its lake tables up to date
  cdc tables shop                see where they stand

\b
Exit codes:
  0    done
  1    an error that needs somebody; a table failed; `status` found something that is not up
  2    the command line is wrong, or names a source or table that is not declared
  3    a service did not answer, or another writer was in the way: the same command may succeed later
  130  interrupted by Ctrl-C; 143 by SIGTERM (`cdc run` without --once ends with 0)

Settings are environment variables (CDC_*), also read from a file .env in the working directory; .env.example
lists them. CDC_DEBUG=1 adds a traceback to an error.
"""


class Commands(TyperGroup):
    """The root of the tree: what a command raises ends here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Looked for in the raw words, because a command line that cannot be parsed must answer in JSON too.
        ctx.meta["as_json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        as_json = ctx.meta["as_json"]
        try:
            return super().invoke(ctx)
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


def main() -> None:
    """Entry point of the ``cdc`` script."""
    app()
