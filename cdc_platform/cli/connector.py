"""``cdc connector``: the Debezium connectors of the declared sources."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, SourceName, Yes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from cdc_platform.connect.client import ConnectClient
    from cdc_platform.connect.status import ConnectorStatus
    from cdc_platform.core.source import Source

app = typer.Typer(help="The Debezium connectors of the declared sources.", no_args_is_help=True)

Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait for Kafka Connect's status to say so.")]

ATTEMPTS = 3
"""A person waits: an address that does not answer is reported within seconds."""


@app.command()
def apply(
    ctx: typer.Context,
    source: SourceName = None,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds to wait for Kafka Connect.")] = 60,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the initial snapshot is done.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that --wait waits at most.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Create the topics and create or update the connector; of all sources, if none is named.

    May be repeated at any time. Returns once the connector runs; with --wait, once it has read what was
    there already into Kafka and streams what changes.

    Example: cdc connector apply shop --wait
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import chosen
    from cdc_platform.cli.streaming import await_streams
    from cdc_platform.platform import deploy_source

    out, given, sources = Output(as_json=as_json), settings(), chosen(ctx.obj, source)
    applied = []
    for each in sources:
        out.say(f"deploying {each.connector} with {len(each.captured)} topics")
        applied.append(deploy_source(given, each, deadline=deadline))
    streaming = {}
    if wait:
        with _client() as client:
            streaming = await_streams(given, sources, client, timeout, out)
    seconds = {"streaming_after_seconds": streaming} if wait else {}
    out.show({"connectors": applied, **seconds}, _table(applied))


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List Kafka Connect's connectors, and the declared sources that have none.

    Example: cdc connector list
    """
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.cli.sources import chosen

    out = Output(as_json=as_json)
    declared = {each.connector: each.name for each in chosen(ctx.obj, None)}
    with _client() as client:
        deployed = client.list()
    names = sorted({*declared, *deployed})
    found = [{"name": name, "source": declared.get(name), "deployed": name in deployed} for name in names]
    rows = [
        (name, declared.get(name, "(not declared)"), "deployed" if name in deployed else "not deployed")
        for name in names
    ]
    out.show({"connectors": found}, grid(("CONNECTOR", "SOURCE", ""), rows))


@app.command()
def status(ctx: typer.Context, source: SourceName = None, as_json: AsJson = False) -> None:
    """Show the state of a connector and its tasks; exit code 1 if one does not run.

    Example: cdc connector status shop
    """
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import chosen
    from cdc_platform.connect.status import State

    out = Output(as_json=as_json)
    with _client() as client:
        wanted = [each.connector for each in chosen(ctx.obj, source)]
        deployed = [name for name in client.list() if name in wanted]
        found = [client.status(name) for name in deployed]
    missing = [name for name in wanted if name not in deployed]
    out.show({"connectors": found, "not_deployed": missing}, _table(found, missing))
    if missing or not all(each.is_all(State.RUNNING) for each in found):
        raise typer.Exit(1)


@app.command()
def restart(
    ctx: typer.Context,
    source: SourceName = None,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Leave tasks alone that run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restart a connector and its tasks, and return once they run.

    Example: cdc connector restart shop --only-failed
    """

    def restarted(client: ConnectClient, name: str) -> ConnectorStatus:
        client.restart(name, only_failed=only_failed)
        return client.verify(name)

    _change(ctx, source, as_json, restarted)


@app.command()
def pause(
    ctx: typer.Context, source: SourceName = None, timeout: Timeout = 30, as_json: AsJson = False
) -> None:
    """Stop capturing, and return once the connector has stopped. Nothing is lost: `resume` goes on there.

    The database must keep its history (oplog, log of the replication slot, binlogs) for as long as the
    connector is paused.

    Example: cdc connector pause shop
    """
    _change(ctx, source, as_json, lambda client, name: client.pause(name, timeout))


@app.command()
def resume(
    ctx: typer.Context, source: SourceName = None, timeout: Timeout = 30, as_json: AsJson = False
) -> None:
    """Go on where `pause` stopped, and return once the connector and its tasks run.

    Example: cdc connector resume shop
    """
    _change(ctx, source, as_json, lambda client, name: client.resume(name, timeout))


@app.command()
def snapshot(
    ctx: typer.Context,
    source: SourceName = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="This table alone, while the others go on; repeatable."),
    ] = None,
    timeout: Timeout = 60,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Read everything of the source once more, then stream; returns once the connector runs.

    Its rows follow those in the topics: what changed unseen is brought up to date. What was deleted unseen is
    not in a snapshot: `cdc reconcile TABLE` removes it afterwards. Single tables are read while the connector
    goes on; the command returns once it was told.

    Example: cdc connector snapshot shop --table orders
    """
    import uuid

    from cdc_platform.cli.sources import only
    from cdc_platform.connect.deploy import snapshot as take
    from cdc_platform.connect.signals import read_again, require_heard

    declared = only(ctx.obj, source)
    names = [_known(declared, name) for name in table or ()]
    if not yes:
        wanted = ", ".join(names) or f"all of {declared.name}"
        typer.confirm(f"Read {wanted} again?", abort=True, err=True)

    def taken(client: ConnectClient, name: str) -> ConnectorStatus:
        if not names:
            return take(declared, client, timeout)
        found = client.status(name)
        require_heard(declared, client.config(name))
        read_again(declared, names, uuid.uuid4().hex)
        return found

    _change(ctx, source, as_json, taken)


@app.command()
def delete(
    ctx: typer.Context,
    source: SourceName = None,
    keep: Annotated[
        bool, typer.Option("--keep-slot", help="Keep PostgreSQL's replication slot, which fills its disk.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a connector. Its topics, its position and the lake tables stay; `apply` goes on from there.

    Of PostgreSQL the position is a replication slot, for which the server keeps its log until the disk is
    full: it is dropped, with the publication, and `apply` reads everything again. --keep-slot leaves both.

    Example: cdc connector delete shop --yes
    """
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only
    from cdc_platform.connect.deploy import delete as remove

    out, each = Output(as_json=as_json), only(ctx.obj, source)
    if not yes:
        typer.confirm(f"Delete connector {each.connector}?", abort=True, err=True)
    with _client() as client:
        remove(each, client, keep=keep)
    out.show({"deleted": each.connector}, f"deleted {each.connector}; its topics and the lake tables stay")


def _known(source: Source, name: str) -> str:
    """The name a table is known by, of one that is given as it is in the database or in the lake."""
    from cdc_platform.core.errors import Terminal
    from cdc_platform.core.naming import shortest
    from cdc_platform.core.pattern import carried

    if (known := carried(shortest(name, source.engine))) in source.collections:
        return known
    raise Terminal(
        f"source {source.name} has no table {name}",
        where=f"source {source.name}",
        remedy=f"name one of {', '.join(source.collections)}",
    )


def _change(
    ctx: typer.Context,
    source: str | None,
    as_json: bool,
    change: Callable[[ConnectClient, str], ConnectorStatus],
) -> None:
    """Change one source's connector, and show the status it has reached."""
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only

    out, each = Output(as_json=as_json), only(ctx.obj, source)
    with _client() as client:
        found = [change(client, each.connector)]
    out.show({"connectors": found}, _table(found))


def _client() -> ConnectClient:
    from cdc_platform.cli.environment import settings
    from cdc_platform.connect.client import ConnectClient

    return ConnectClient(settings().connect_url, attempts=ATTEMPTS)


def _table(found: Sequence[ConnectorStatus], missing: Sequence[str] = ()) -> Table:
    from cdc_platform.cli.output import grid
    from cdc_platform.connect.status import failure

    def why(trace: str) -> str:
        return failure(trace) if trace else ""

    rows = [(name, "", "NOT DEPLOYED", "", "") for name in missing]
    for each in found:
        rows.append((each.name, "", each.state.value, each.worker, why(each.trace)))
        rows += [("", str(task.id), task.state.value, task.worker, why(task.trace)) for task in each.tasks]
    return grid(("CONNECTOR", "TASK", "STATE", "WORKER", ""), rows)
