"""``python -m cdc_platform.demo``: see ``--help``."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cdc_platform.core.errors import CdcError
from cdc_platform.demo.play import SOURCE, Play, Wishes
from cdc_platform.logs import Format, Journal, LogSettings, configure


def main(
    once: Annotated[bool, typer.Option(help="End after the proof instead of staying up.")] = False,
    seconds: Annotated[float, typer.Option(min=5, help="How long the writers change the shop.")] = 30,
    rate: Annotated[int, typer.Option(min=1, help="Changes per second.")] = 1_000,
    documents: Annotated[int, typer.Option(min=100, help="Documents the shop starts with.")] = 50_000,
    report: Annotated[Path | None, typer.Option(help="Write the result as JSON to this file.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    seed: Annotated[int, typer.Option(help="Seed of the shop's documents and changes.")] = 1,
) -> None:
    """Capture a small shop from MongoDB through Debezium and Kafka into Delta, and prove the lake equals it.

    Everything runs as processes of this machine and ends with this command.
    """
    console = Console()
    wishes = Wishes(seconds=seconds, rate=rate, documents=documents, port=port, seed=seed)
    try:
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
    return Journal(SOURCE)


if __name__ == "__main__":
    typer.run(main)
