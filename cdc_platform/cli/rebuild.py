"""``cdc rebuild``: a table made anew."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cdc_platform.cli.options import AsJson, InSource, Yes

if TYPE_CHECKING:
    from cdc_platform.replicate.rebuild import Rebuilt


def rebuild(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A collection of the source.")],
    origin: Annotated[
        Literal["changelog", "kafka", "source"],
        typer.Option("--from", help="What to make it from."),
    ] = "changelog",
    source: InSource = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a table anew, in all its formats. Readers see the old table until the new one is whole.

    \b
    --from changelog   the current state, from the changelog as it is
    --from kafka       the changelog too, from the records that Kafka still holds; older rows stay
    --from source      both from a new snapshot, with the columns and types that the source has now;
                       the changes of before are given up

    The other tables go on; this one is held back while its tables are exchanged. Older versions can be read
    until their files are removed. Who follows the change feed begins anew at the version of the rebuild.

    Example: cdc rebuild orders --from source
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.operate.rebuilding import Origin
    from cdc_platform.operate.rebuilding import rebuild as rebuild_table

    declared, out = only(ctx.obj, source, [table]), Output(as_json=as_json)
    name = table_of(declared, table)
    if origin == "source" and not yes:
        typer.confirm(f"Give up the changes of {name} until now?", abort=True, err=True)
    done = rebuild_table(settings(), declared, name, Origin(origin), out.say)
    rows = [
        (each.format.value, each.kind.value, str(each.version), f"{each.rows:,}", f"{each.kept:,}")
        for each in done
    ]
    shown = grid(("FORMAT", "TABLE", "VERSION", "ROWS", "KEPT"), rows)
    out.show({"table": name, "from": origin, "tables": [_document(each) for each in done]}, shown)


def _document(done: Rebuilt) -> dict[str, object]:
    return {
        "format": done.format,
        "kind": done.kind,
        "version": done.version,
        "rows": done.rows,
        "rows_kept": done.kept,
        "offsets": dict(done.offsets),
    }
