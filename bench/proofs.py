"""``python -m bench.proofs ENGINE ROWS…``: what proofs of a table of so many rows cost, in each format.

One database is brought up, filled, and proven in full; then one row of each hundred changes, and what has
changed is proven. Every step runs in a process of its own. CPU seconds are what counts: on a machine that
does other things, too, the time on the clock tells of those.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from bench.measure import Measured, in_its_own_process
from cdc_platform.core.model import Format
from cdc_platform.core.position import Engine
from cdc_platform.local.process import load_records
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack

TIMEOUT = 3600

console = Console(soft_wrap=True, highlight=False)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.proofs", description=__doc__)
    arguments.add_argument("engine", type=Engine)
    arguments.add_argument("rows", type=int, nargs="+")
    arguments.add_argument("--formats", type=Format, nargs="+", default=list(Format))
    arguments.add_argument("--commits", type=int, default=1, help="That the changes come in.")
    arguments.add_argument("--repetitions", type=int, default=3, help="Of a proof of what has changed.")
    given = arguments.parse_args()
    listeners = ("mongodb", "postgresql", "mariadb", "kafka", "kafka_controller", "connect")
    settings = StackSettings(**{f"{name}_port": 0 for name in listeners})  # type: ignore[arg-type]
    with (
        tempfile.TemporaryDirectory(prefix="cdc-proofs-") as folder,
        Stack.attached(Path(folder) / "stack", settings) as stack,
    ):
        known = stack.up(services=(given.engine,))
        uri, server = getattr(known, f"{given.engine}_uri"), load_records(stack.paths.run)[given.engine].pid
        for rows in given.rows:
            measure(given, rows, uri, server, Path(folder) / f"lake-{rows}")


def measure(given: argparse.Namespace, rows: int, uri: str, server: int, lake: Path) -> None:
    """``server``: the database's process. ``lake``: a folder that is not there yet."""

    def step(what: str, into: Format) -> Measured:
        words = (what, given.engine, uri, into, str(lake), str(rows))
        more = ("--commits", str(given.commits), "--server", str(server))
        return in_its_own_process("bench.proof", *words, *more, timeout=TIMEOUT)

    def tell(what: str, into: Format, found: Measured) -> None:
        _tell(f"{given.engine} {into} {rows:,} rows, {given.commits} commits, {what}", found, full[into])

    step("fill", given.formats[0])
    full: dict[Format, Measured] = {}
    for into in given.formats:
        step("write", into)
        full[into] = step("full", into)
        tell("full", into, full[into])
    step("change", given.formats[0])
    ways = ("incremental", "prefiltered") if given.engine is Engine.POSTGRESQL else ("incremental",)
    for into in given.formats:
        step("replicate", into)
        for what in ways:
            for _ in range(given.repetitions):
                tell(what, into, step(what, into))


def _tell(what: str, found: Measured, full: Measured) -> None:
    console.print(
        f"{what}: CPU {found.cpu_seconds:.2f} s ({found.cpu_seconds / full.cpu_seconds:.1%}), "
        f"database {found.server:.2f} s ({_ratio(found.server, full.server)}), "
        f"{found.seconds:.1f} s on the clock, peak {found.peak_mb:.0f} MB, {found.count:,} keys"
    )


def _ratio(some: float | None, every: float | None) -> str:
    return f"{some / every:.1%}" if some is not None and every else "-"


if __name__ == "__main__":
    main()
