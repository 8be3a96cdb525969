"""``python -m cdc_platform.demo``: see ``--help``."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cdc_platform.core.errors import CdcError
from cdc_platform.demo.firm import DEPARTMENTS, require_known
from cdc_platform.demo.play import Play, Wishes
from cdc_platform.logs import Format, Journal, LogSettings, configure


def main(
    once: Annotated[bool, typer.Option(help="End after the proof instead of staying up.")] = False,
    seconds: Annotated[
        float,
        typer.Option(
            min=5, help="How long people change the databases, at least: until the first proofs have ended."
        ),
    ] = 30,
    rate: Annotated[int, typer.Option(min=10, help="Changes per second, of all sources together.")] = 200,
    documents: Annotated[
        int, typer.Option(min=100, help="Documents and rows to begin with, of all sources together.")
    ] = 50_000,
    source: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(DEPARTMENTS)}; repeat it for two. All of them if left out."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON to this file.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    seed: Annotated[int, typer.Option(help="Seed of the rows and changes.")] = 1,
) -> None:
    """Capture a small firm through Debezium and Kafka into Delta and Iceberg, and prove that they equal it.

    Its shop is in MongoDB (60 % of all rows and changes), its billing in PostgreSQL and its stock in MariaDB
    (20 % each). Everything runs as processes of this machine and ends with this command.
    """
    console = Console()
    names = tuple(name for name in DEPARTMENTS if not source or name in source)
    wishes = Wishes(seconds=seconds, rate=rate, documents=documents, port=port, seed=seed, sources=names)
    try:
        require_known(source or ())
        with Play.staged(wishes, console, _journal()) as play:
            found = play.run()
            if report:
                found.write(report)
            console.print(found.render())
            for table in found.tables:
                if table.verdict != "pass":
                    console.print(table.reason, highlight=False)
            if not once:
                play.stay()
    except KeyboardInterrupt:
        console.print("ended")
        raise SystemExit(130) from None
    except CdcError as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        raise SystemExit(1) from None
    if not found.passed:
        raise SystemExit(1)


def _journal() -> Journal | None:
    """Structured logs on stderr, if the environment asks for them."""
    given = LogSettings()
    if given.format(Format.CONSOLE) is Format.CONSOLE:
        return None
    trace = os.environ.get("TRACEPARENT", "")
    configure(given, program="demo", usual=Format.CONSOLE, run_id=uuid.uuid4().hex, traceparent=trace)
    return Journal("demo")


if __name__ == "__main__":
    typer.run(main)
