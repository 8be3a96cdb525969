"""``cdc schema``: how a table's schema came to be what it is, and which of its changes are taken."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource, Yes

if TYPE_CHECKING:
    from cdc_platform.core.source import Source
    from cdc_platform.replicate import Replica
    from cdc_platform.replicate.schema_history import Version

app = typer.Typer(help="The history of a table's schema.", no_args_is_help=True)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="A table or collection of the source.")]


@app.command()
def history(ctx: typer.Context, table: Table, source: InSource = None, as_json: AsJson = False) -> None:
    """List the versions of a table's schema: what changed, and the first event that had it.

    Example: cdc schema history orders
    """
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.replicate.schema_history import read_history

    found = [
        (str(replica.format), each)
        for replica in _replicas(ctx, source, table)
        if replica.history.table is not None
        for each in read_history(replica.history.table, replica.stream)
    ]
    rows = [
        (stored, str(each.number), each.state, f"{each.at:%Y-%m-%d %H:%M:%S}", _place(each), each.changes)
        for stored, each in found
    ]
    document = {"versions": [{"format": stored, **_told(each)} for stored, each in found]}
    headings = ("FORMAT", "VERSION", "STATE", "AT (UTC)", "FIRST EVENT", "CHANGES")
    seen = grid(headings, rows, right="VERSION") if rows else "nothing is known of this table's schema yet"
    Output(as_json=as_json).show(document, seen)


@app.command()
def accept(
    ctx: typer.Context, table: Table, source: InSource = None, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take the versions of a table's schema that its policy of compatibility has refused.

    The table goes on from where it stopped with its next run. A column that has another type goes on beside
    the old one, in <column>__v2.

    Example: cdc schema accept orders
    """
    from cdc_platform.cli.output import Output
    from cdc_platform.platform import utc_now
    from cdc_platform.replicate.schema_history import refused

    waiting = [
        (replica, versions)
        for replica in _replicas(ctx, source, table)
        if (versions := refused(replica.history, replica.stream))
    ]
    out = Output(as_json=as_json)
    if not waiting:
        out.show({"accepted": []}, f"no version of the schema of {table} is refused")
        return
    for replica, versions in waiting:
        for each in versions:
            out.say(f"{replica.target}: {each.changes}, from {_place(each)} on")
    if not yes and not as_json:
        typer.confirm("Take it?", abort=True)
    taken = [
        {"format": str(replica.format), **_told(each)}
        for replica, _ in waiting
        for each in replica.retrying(replica.history.accept, replica.stream, utc_now())
    ]
    out.show({"accepted": taken}, f"accepted; {table} goes on with the next run")


@app.command()
def prune(ctx: typer.Context, source: InSource = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove versions of schemas from the registry that no record needs any more.

    What Kafka retains and what dead letters hold is read for that; the newest version of each subject stays.

    Example: cdc schema prune --source billing
    """
    from dataclasses import asdict

    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only
    from cdc_platform.core.settings import Settings
    from cdc_platform.operate.pruning import old_versions
    from cdc_platform.operate.pruning import prune as remove

    settings, out = Settings(), Output(as_json=as_json)
    found = old_versions(settings, only(ctx.obj, source), out.say)
    if found:
        for each in found:
            out.say(f"{each.subject}, version {each.version}: schema {each.schema_id}, which no record needs")
        if not yes and not as_json:
            typer.confirm("Remove them from the registry?", abort=True)
        remove(settings, found)
    text = f"removed {len(found)} versions" if found else "every version is needed"
    out.show({"removed": [asdict(each) for each in found]}, text)


def _replicas(ctx: typer.Context, source: str | None, table: str) -> list[Replica]:
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.core.settings import Settings
    from cdc_platform.platform import table_replicas

    declared: Source = only(ctx.obj, source, [table])
    found, _ = table_replicas(Settings(), declared, table_of(declared, table))
    return found


def _place(version: Version) -> str:
    return f"partition {version.partition}, offset {version.offset}"


def _told(version: Version) -> dict[str, object]:
    return {
        "version": version.number,
        "state": version.state,
        "at": version.at.isoformat(),
        "partition": version.partition,
        "offset": version.offset,
        "changes": version.changes,
        "schema": version.schema.model_dump(mode="json"),
    }
