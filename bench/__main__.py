"""``make bench``: measure, print, and write ``bench/results.json``.

Numbers are medians of a few repetitions in processes of their own, ours and the peer's in turn, on whatever
machine this is; what can be carried elsewhere is the ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from bench.events import inserts
from bench.measure import Measured, in_its_own_process
from bench.results import Result, result
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local import iceberg_rest, s3
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack

RESULTS = Path(__file__).parent / "results.json"
TOPIC = "bench.bench.orders"
PEER = "a script of consumer loop, orjson and deltalake"

ALONE = "ourselves with Delta alone"

console = Console()


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make bench", description=__doc__)
    arguments.add_argument("--events", type=int, default=300_000, help="Events in the topic.")
    arguments.add_argument("--rows", type=int, default=1_000_000, help="Rows of the table that is proven.")
    arguments.add_argument("--repetitions", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdc-bench-") as folder:
        found = [
            *_stack_and_changelog(Path(folder), given.events, given.repetitions),
            *_merge(Path(folder), given.repetitions),
            *_targets(Path(folder), given.repetitions),
            *_proof(Path(folder), given.rows, given.repetitions),
            *_lag(Path(folder)),
        ]
    RESULTS.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    console.print(_table(found))
    console.print(
        f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}"
    )
    return 0


def _stack_and_changelog(folder: Path, events: int, repetitions: int) -> list[Result]:
    settings = StackSettings(kafka_port=0, kafka_controller_port=0, mongodb_port=0, connect_port=0)
    starts = []
    with Stack.attached(folder / "stack", settings) as stack:
        stack.up()
        console.print("the stack is up; it is started again, to see how long that takes")
    for _ in range(repetitions):
        with Stack.attached(folder / "stack", settings) as stack:
            began = time.perf_counter()
            stack.up()
            starts.append(time.perf_counter() - began)
    with Stack.attached(folder / "stack", settings) as stack:
        bootstrap = stack.up().kafka_bootstrap
        size = _fill(bootstrap, events)
        console.print(f"{events:,} events of {size} bytes are in Kafka")

        def measure(variant: str, into: Path) -> Measured:
            return in_its_own_process("bench.changelog", variant, bootstrap, TOPIC, str(into))

        measured = _in_turn(folder, repetitions, measure)
        both = _in_turn(folder, repetitions, measure, ("both", "ours"))
    variant = f"{events:,} MongoDB events of {size} bytes, JSON"
    return [
        result("warm start", "MongoDB, Kafka, Connect", "time to ready", "s", starts),
        result(
            "kafka to changelog", variant, "throughput", "events/s",
            [m.count / m.seconds for m in measured["ours"]], PEER,
            [m.count / m.seconds for m in measured["script"]], more_is_better=True,
        ),
        result(
            "kafka to changelog", variant, "CPU per million events", "s",
            [m.cpu_seconds / m.count * 1e6 for m in measured["ours"]], PEER,
            [m.cpu_seconds / m.count * 1e6 for m in measured["script"]],
        ),
        result(
            "kafka to changelog", variant, "peak memory", "MB",
            [m.peak_mb for m in measured["ours"]], PEER, [m.peak_mb for m in measured["script"]],
        ),
        result(
            "kafka to changelogs in both formats", variant, "CPU per million events", "s",
            [m.cpu_seconds / m.count * 1e6 for m in both["both"]], ALONE,
            [m.cpu_seconds / m.count * 1e6 for m in both["ours"]],
        ),
        result(
            "kafka to changelogs in both formats", variant, "throughput", "events/s",
            [m.count / m.seconds for m in both["both"]], ALONE,
            [m.count / m.seconds for m in both["ours"]], more_is_better=True,
        ),
    ]  # fmt: skip


def _merge(folder: Path, repetitions: int) -> list[Result]:
    prepared = folder / "prepared"
    in_its_own_process("bench.merge", "prepare", str(prepared))
    console.print("a table of a million rows and 50,000 changes are ready")

    def measure(variant: str, into: Path) -> Measured:
        shutil.copytree(prepared, into)
        return in_its_own_process("bench.merge", variant, str(into))

    measured = _in_turn(folder, repetitions, measure)
    variant = "50,000 changes of keys from all over into 1,000,000 rows"
    peer = "deltalake's merge with its defaults"
    return [
        result("merge", variant, "time", "s", [m.seconds for m in measured["ours"]], peer,
               [m.seconds for m in measured["script"]]),
        result("merge", variant, "CPU", "s", [m.cpu_seconds for m in measured["ours"]], peer,
               [m.cpu_seconds for m in measured["script"]]),
        result("merge", variant, "peak memory", "MB", [m.peak_mb for m in measured["ours"]], peer,
               [m.peak_mb for m in measured["script"]]),
    ]  # fmt: skip


def _targets(folder: Path, repetitions: int) -> list[Result]:
    """A thousand rows into each format, catalog and store, and back; none has a peer."""
    found = []
    with (
        s3.serving(folder, random.Random()) as server,
        Stack.attached(folder / "rest", StackSettings(), ephemeral=True) as stack,
    ):
        server.make_bucket("bench")
        rest = {
            "CDC_ICEBERG_CATALOG": "bench",
            "PYICEBERG_CATALOG__BENCH__TYPE": "rest",
            "PYICEBERG_CATALOG__BENCH__URI": iceberg_rest.start(stack, folder, progress=console.print),
        }
        console.print("an S3 server and a REST catalog are up")
        for name, stored, remote, environment in (
            ("Delta on disk", "delta", False, {}),
            ("Delta on S3", "delta", True, server.environment),
            ("Iceberg on disk, SQL catalog", "iceberg", False, {}),
            ("Iceberg on S3, SQL catalog", "iceberg", True, server.environment),
            ("Iceberg on disk, REST catalog", "iceberg", False, rest),
        ):
            seconds: dict[str, list[float]] = {"write": [], "read": []}
            for number in range(repetitions):
                state = folder / f"{name} {number}".replace(",", "").replace(" ", "-")
                root = f"s3://bench/{state.name}" if remote else str(state / "lake")
                given = {**environment, "CDC_BENCH_SOURCE": f"bench{number}"}
                for what, measured in seconds.items():
                    words = (what, stored, root, str(state))
                    done = in_its_own_process("bench.targets", *words, environment=given)
                    measured.append(done.seconds)
            found += [
                result("1,000 rows", name, f"{what}, both tables", "s", measured)
                for what, measured in seconds.items()
            ]
    return found


def _proof(folder: Path, rows: int, repetitions: int) -> list[Result]:
    """Proofs of a table of which one row in a hundred has changed: of those alone, and of all. Then all of a
    quarter of the table, to see whether memory follows the rows."""
    found = []
    settings = StackSettings(mongodb_port=0, postgresql_port=0)
    with Stack.attached(folder / "proven", settings, ephemeral=True) as stack:
        known = stack.up(services=("mongodb", "postgresql"))
        for engine, uri in (("PostgreSQL", known.postgresql_uri), ("MongoDB", known.mongodb_uri)):

            def measure(
                what: str, of: int, engine: str = engine.lower(), uri: str = uri, times: int = 1
            ) -> list[Measured]:
                words = (what, engine, uri, "delta", str(folder / f"{engine}-{of}"), str(of))
                return [in_its_own_process("bench.proof", *words) for _ in range(times)]

            for of in (rows // 4, rows):
                measure("fill", of)
                measure("write", of)
                full = measure("full", of, times=1 if of < rows else repetitions)
                if of < rows:
                    [quarter] = full
            measure("change", rows)
            measure("replicate", rows)
            some = measure("incremental", rows, times=repetitions)
            peer, variant = f"a proof of every row on {engine}", f"{rows:,} rows of {engine}, 1 % changed"
            found += [
                result("proof", variant, "CPU", "s", [m.cpu_seconds for m in some], peer,
                       [m.cpu_seconds for m in full]),
                result("proof", variant, "time", "s", [m.seconds for m in some], peer,
                       [m.seconds for m in full]),
                result("proof of every row", f"{rows:,} rows of {engine}", "peak memory", "MB",
                       [m.peak_mb for m in full], "a quarter of the rows", [quarter.peak_mb]),
            ]  # fmt: skip
            console.print(f"a table of {rows:,} rows in {engine} is proven")
    return found


def _lag(folder: Path) -> list[Result]:
    report = folder / "demo.json"
    console.print("the demo runs: 30 s of about 1,000 changes a second")
    words = ["--once", "--source", "shop", "--rate", "1000", "--seconds", "30", "--report", str(report)]
    subprocess.run([sys.executable, "-m", "cdc_platform.demo", *words], check=True, timeout=900)
    tables = json.loads(report.read_text())["tables"]
    return [
        result(
            "lag", "source commit to changelog commit, 1,000 changes/s", metric, "s",
            [max(each[field] for each in tables if each[field] is not None)],
        )
        for metric, field in (("p50", "lag_p50_s"), ("p95", "lag_p95_s"))
    ]  # fmt: skip


def _in_turn(
    folder: Path,
    repetitions: int,
    measure: Callable[[str, Path], Measured],
    variants: Sequence[str] = ("ours", "script"),
) -> dict[str, list[Measured]]:
    """Ours and theirs by turns, so that whatever else the machine does meets both."""
    found: dict[str, list[Measured]] = {variant: [] for variant in variants}
    for number in range(repetitions):
        for variant, measured in found.items():
            into = folder / f"{variant}-{number}"
            measured.append(measure(variant, into))
            shutil.rmtree(into, ignore_errors=True)
    return found


def _fill(bootstrap: str, events: int) -> int:
    """The topic with that many events; returns their mean size in bytes."""
    KafkaLog(bootstrap).create({TOPIC: 3})
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 500_000}
    )
    size = 0
    for key, value in inserts(events, seed=1):
        size += len(key) + len(value)
        while True:
            try:
                producer.produce(TOPIC, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise RuntimeError("Kafka did not take all events")
    return round(size / events)


def _table(found: list[Result]) -> Table:
    peers = "; ".join(sorted({f"{each.workload}: {each.peer}" for each in found if each.peer}))
    table = Table("workload", "metric", "ours", "theirs", "ratio", "spread", caption=f"theirs: {peers}")
    for each in found:
        theirs = "-" if each.theirs is None else f"{each.theirs:,.2f}"
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}×"
        workload = each.workload if each.peer else f"{each.workload}: {each.variant}"
        row = (workload, f"{each.metric} ({each.unit})", f"{each.ours:,.2f}", theirs, ratio)
        table.add_row(*row, f"{each.spread:.0%}")
    return table


if __name__ == "__main__":
    sys.exit(main())
