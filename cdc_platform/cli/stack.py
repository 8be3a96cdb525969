"""``cdc stack``: the databases, Kafka, Kafka Connect and a schema registry on this machine."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, Yes

if TYPE_CHECKING:
    from cdc_platform.local.stack import ServiceStatus, Stack

app = typer.Typer(
    help="The local stack: databases, Kafka, Kafka Connect and a schema registry as processes.",
    no_args_is_help=True,
)


@app.command()
def up(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="mongodb, postgresql, mariadb, registry; all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring up what is not up, and print where to connect to. Kafka and Connect are always among it.

    The databases' user is cdc, and so is its password. The first time, components are fetched. It outlives
    the command; `cdc stack down` ends it.

    Example: cdc stack up mongodb postgresql
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.local.components import SERVICES

    out, stack = Output(as_json=as_json), _stack()
    endpoints = stack.up(out.say, services or SERVICES)
    out.show(endpoints.addresses, grid(("SERVICE", "ADDRESS"), list(endpoints.addresses.items())))
    given = settings()
    for variable, expected, found in (
        ("CDC_KAFKA_BOOTSTRAP", given.kafka_bootstrap, endpoints.kafka_bootstrap),
        ("CDC_CONNECT_URL", given.connect_url, endpoints.connect_url),
    ):
        if expected != found:
            out.say(f"for the other commands: export {variable}={found}")


@app.command()
def down(as_json: AsJson = False) -> None:
    """End the stack. Its data stays for the next `up`.

    Example: cdc stack down
    """
    from cdc_platform.cli.output import Output

    out, stack = Output(as_json=as_json), _stack()
    stack.down(out.say)
    out.show({"down": True, "state_dir": stack.paths.root}, f"down; its data stays in {stack.paths.root}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show every service's state; exit code 1 if one is not up.

    Example: cdc stack status
    """
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.local.stack import ServiceState

    out, stack = Output(as_json=as_json), _stack()
    services = stack.status()
    headings = ("SERVICE", "STATE", "PORT", "PID", "MB", "LOG", "")
    out.show({"services": services}, grid(headings, map(_row, services), right="PORT PID MB"))
    if any(service.state is not ServiceState.UP for service in services):
        if all(service.state is ServiceState.DOWN for service in services):
            out.say("bring it up: cdc stack up")
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[
        str,
        typer.Argument(metavar="SERVICE", help="mongodb, postgresql, mariadb, registry, kafka or connect."),
    ],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the end of a service's log.

    Example: cdc stack logs connect --lines 100 --follow
    """
    from cdc_platform.cli.failures import UsageError
    from cdc_platform.cli.follow import appended
    from cdc_platform.cli.output import Output

    if follow and as_json:
        raise UsageError("--follow never ends, and --json is one document", remedy="give one of the two")
    stack = _stack()
    log = stack.paths.log(service)
    size = log.stat().st_size if log.exists() else 0
    found = stack.logs(service, lines)
    if as_json:
        Output(as_json=True).show({"service": service, "log": log, "lines": found})
        return
    for line in found:
        typer.echo(line)
    if follow:
        for text in appended(log, size):
            typer.echo(text, nl=False)


@app.command()
def reset(yes: Yes = False, as_json: AsJson = False) -> None:
    """End the stack and remove its data, logs and configuration. The lake tables stay.

    Example: cdc stack reset --yes
    """
    from cdc_platform.cli.output import Output

    out, stack = Output(as_json=as_json), _stack()
    if not yes:
        typer.confirm(f"Remove all data of the stack in {stack.paths.root}?", abort=True, err=True)
    stack.reset(out.say)
    out.show({"reset": True, "state_dir": stack.paths.root}, "reset; the next `up` starts from nothing")


def _stack() -> Stack:
    from cdc_platform.cli.environment import stack_settings
    from cdc_platform.local.stack import Stack

    return Stack(settings=stack_settings())


def _row(service: ServiceStatus) -> tuple[str, ...]:
    numbers = (service.port, service.pid, service.memory_mb)
    return (
        service.name,
        service.state,
        *("-" if each is None else str(each) for each in numbers),
        str(service.log),
        service.detail,
    )
