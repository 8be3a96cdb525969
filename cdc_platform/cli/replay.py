"""``cdc replay``: committed offsets read once more."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource

if TYPE_CHECKING:
    from cdc_platform.replicate.replay import Replayed


def replay(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A collection of the source.")],
    partition: Annotated[int, typer.Option(min=0, help="Partition of its topic.")],
    start: Annotated[int, typer.Option("--from", min=0, help="First offset.")],
    end: Annotated[int, typer.Option("--to", min=1, help="One past the last offset.")],
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Read committed offsets again: put in the rows that are missing, and recompute their keys.

    What is there already stays as it is, and nothing newer is overwritten; no offset moves.

    Example: cdc replay orders --partition 0 --from 1000 --to 2000
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.failures import UsageError
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.core.offsets import Range
    from cdc_platform.platform import table_replicas
    from cdc_platform.replicate.replay import replay as replay_ranges

    if end <= start:
        raise UsageError(f"there is no offset from {start} to {end}", remedy="--to is one past the last")
    declared = only(ctx.obj, source, [table])
    name = table_of(declared, table)
    replicas, log = table_replicas(settings(), declared, name)
    stream = replicas[0].stream
    if partition >= stream.partitions:
        raise UsageError(
            f"there is no partition {partition}",
            where=f"topic {stream.topic}",
            remedy=f"it has partitions 0 to {stream.partitions - 1}",
        )
    done = {
        replica.format: replay_ranges(replica, log, {partition: Range(start, end)}) for replica in replicas
    }
    document = {
        "table": name,
        "partition": partition,
        "from": start,
        "to": end,
        "formats": {stored.value: _document(each) for stored, each in done.items()},
    }
    Output(as_json=as_json).show(
        document, "\n".join(f"{stored}: {_summary(each)}" for stored, each in done.items())
    )


def _document(done: Replayed) -> dict[str, object]:
    return {
        "events": done.read,
        "rows_added": done.added,
        "keys_recomputed": done.keys,
        "dead_letters": [{"partition": p, "offset": o, "reason": why} for p, o, why in done.dead],
    }


def _summary(done: Replayed) -> str:
    dead = f", {len(done.dead)} dead letters" if done.dead else ""
    return f"{done.read:,} events read, {done.added:,} rows added, {done.keys:,} keys recomputed{dead}"
