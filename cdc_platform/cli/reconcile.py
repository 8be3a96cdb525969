"""``cdc reconcile``: rows that the source has no more."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource

SHOWN = 20


def reconcile(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A collection of the source.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Delete the rows of a table that its source has no more, as found at a cluster time.

    For deletes that were never streamed: after a snapshot that was interrupted, a connector that was made
    anew, changes lost with the oplog. Each becomes an event in the table's topic, so the changelog tells of
    it; a key that has come back meanwhile is left alone.

    Example: cdc reconcile orders --dry-run
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.operate.reconciling import reconcile as reconcile_table

    declared, out = only(ctx.obj, source, [table]), Output(as_json=as_json)
    name = table_of(declared, table)
    found = reconcile_table(settings(), declared, name, dry_run=dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    lines = [f"{key} (partition {p}, offset {o})" for key, (p, o) in sorted(found.rows.items())[:SHOWN]]
    if len(found.rows) > SHOWN:
        lines.append(f"and {len(found.rows) - SHOWN:,} more")
    if found.buckets_unlisted:
        lines.append("there is more than fits in memory: reconcile again")
    document = {
        "table": name,
        "at": str(found.at),
        "dry_run": dry_run,
        "rows": [{"key": key, "partition": p, "offset": o} for key, (p, o) in sorted(found.rows.items())],
        "more": bool(found.buckets_unlisted),
    }
    summary = f"{len(found.rows):,} rows that the source does not have at {found.at} {verb}"
    out.show(document, "\n".join([*lines, summary]))
