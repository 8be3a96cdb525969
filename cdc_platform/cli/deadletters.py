"""``cdc deadletters``: events that could not become rows, and what to do about them."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson, InSource, Yes

if TYPE_CHECKING:
    from cdc_platform.core.model import Format
    from cdc_platform.core.settings import Settings
    from cdc_platform.core.source import Source
    from cdc_platform.replicate.letters import Letter
    from cdc_platform.replicate.replay import Replayed

app = typer.Typer(help="Events that could not become rows of a table.", no_args_is_help=True)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="A collection of the source.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only letters of this partition.")]
Offset = Annotated[int | None, typer.Option(min=0, help="Only the letter at this offset of --partition.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Only of this table.")] = None,
    source: InSource = None,
    everything: Annotated[bool, typer.Option("--all", help="Settled ones, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the open dead letters, oldest first in each partition.

    Example: cdc deadletters list orders
    """
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.core.columns import OPEN

    declared = only(ctx.obj, source, [table] if table else ())
    names = [table_of(declared, table)] if table else list(declared.collections)
    state = None if everything else OPEN
    found = [
        (name, stored, each)
        for name in names
        for stored, letters in _letters(declared, name, state).items()
        for each in letters
    ]
    rows = [
        (name, stored, str(each.partition), str(each.offset), each.state, each.reason, each.note)
        for name, stored, each in found
    ]
    document = {"letters": [{"table": name, "format": of, **_told(each)} for name, of, each in found]}
    headings = ("TABLE", "FORMAT", "PARTITION", "OFFSET", "STATE", "REASON", "NOTE")
    seen = grid(headings, rows, right="PARTITION OFFSET") if rows else "no dead letters"
    Output(as_json=as_json).show(document, seen)


@app.command()
def show(
    ctx: typer.Context,
    table: Table,
    partition: Annotated[int, typer.Option(min=0, help="The letter's partition.")],
    offset: Annotated[int, typer.Option(min=0, help="The letter's offset.")],
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Show one letter: why it is one, what to do, and its key and value as they came.

    Example: cdc deadletters show orders --partition 0 --offset 4711
    """
    from cdc_platform.cli.output import Output, grid
    from cdc_platform.cli.sources import only, table_of

    declared = only(ctx.obj, source, [table])
    found = _chosen(declared, table_of(declared, table), partition, offset, None)
    letter, *_ = (letter for letters in found.values() for letter in letters)
    told = _told(letter) | {"key": _text(letter.key), "value": _text(letter.value)}
    rows = [(name, "" if value is None else str(value)) for name, value in told.items()]
    Output(as_json=as_json).show({"letter": told}, grid(("", ""), rows))


@app.command()
def replay(
    ctx: typer.Context,
    table: Table,
    partition: Partition = None,
    offset: Offset = None,
    value: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the repaired value of that one letter."),
    ] = None,
    source: InSource = None,
    as_json: AsJson = False,
) -> None:
    """Decode open letters again and put what became rows in its place in each key's order.

    Without --partition and --offset all of the table. Letters that still cannot be decoded stay open, and the
    exit code is 4.

    \b
    Examples:
      cdc deadletters replay orders
      cdc deadletters replay orders --partition 0 --offset 4711 --value repaired.json
    """
    from cdc_platform.cli.failures import Exit, UsageError
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.platform import table_replicas
    from cdc_platform.replicate.replay import replay_letters

    if value and (partition is None or offset is None):
        raise UsageError("--value repairs one letter", remedy="name it with --partition and --offset")
    declared, out = only(ctx.obj, source, [table]), Output(as_json=as_json)
    name = table_of(declared, table)
    letters = _chosen(declared, name, partition, offset)
    if not letters:
        out.show({"formats": {}}, f"{name} has no open dead letters")
        return
    repaired = value.read_bytes() if value else None
    replicas, _ = table_replicas(_settings(), declared, name)
    documents, lines, open_still = {}, [], False
    for replica in replicas:
        mine = letters.get(replica.format, [])
        values = {} if repaired is None else {(each.partition, each.offset): repaired for each in mine}
        if mine:
            done = replay_letters(replica, mine, values)
            open_still = open_still or bool(done.dead)
            documents[replica.format.value] = _replayed(done, len(mine))
            lines += [f"partition {p}, offset {o} stays open: {why}" for p, o, why in done.dead]
            lines.append(
                f"{replica.format}: {len(mine) - len(done.dead)} replayed, {done.added} rows added, "
                f"{done.keys} keys recomputed"
            )
    out.show({"formats": documents}, "\n".join(lines))
    if open_still:
        raise typer.Exit(Exit.STOPPED)


@app.command()
def discard(
    ctx: typer.Context,
    table: Table,
    reason: Annotated[str, typer.Option(help="Why nothing is lost by it; kept with the letters.")],
    partition: Partition = None,
    offset: Offset = None,
    source: InSource = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Settle open letters without replaying them: what they say never reaches the tables.

    Example: cdc deadletters discard orders --partition 0 --offset 4711 --reason "a test message"
    """
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.core.columns import DISCARDED
    from cdc_platform.platform import table_replicas, utc_now
    from cdc_platform.replicate.letters import settle_letters

    declared, out = only(ctx.obj, source, [table]), Output(as_json=as_json)
    name = table_of(declared, table)
    letters = _chosen(declared, name, partition, offset)
    counts = {stored.value: len(found) for stored, found in letters.items()}
    what = " and ".join(f"{count} dead letters of {name} ({stored})" for stored, count in counts.items())
    if letters and not yes:
        typer.confirm(f"Discard {what}?", abort=True, err=True)
    if letters:
        for replica in table_replicas(_settings(), declared, name)[0]:
            mine = letters.get(replica.format, [])
            replica.retrying(
                settle_letters, replica.letters, replica.stream, mine, DISCARDED, reason, utc_now()
            )
    out.show({"discarded": counts}, f"{what or f'no dead letters of {name}'} discarded")


def _settings() -> Settings:
    from cdc_platform.cli.environment import settings

    return settings()


def _replayed(done: Replayed, letters: int) -> dict[str, object]:
    return {
        "replayed": letters - len(done.dead),
        "rows_added": done.added,
        "keys_recomputed": done.keys,
        "still_open": [{"partition": p, "offset": o, "reason": why} for p, o, why in done.dead],
    }


def _letters(source: Source, table: str, state: str | None) -> dict[Format, list[Letter]]:
    """By the format that they are letters of."""
    from cdc_platform.platform import letters_table
    from cdc_platform.replicate.letters import standing

    tables = {
        stored: letters_table(_settings(), source, table, stored) for stored in source.formats_of(table)
    }
    return {stored: standing(found.rows(), state) for stored, found in tables.items() if found.exists()}


def _chosen(
    source: Source, table: str, partition: int | None, offset: int | None, state: str | None = "open"
) -> dict[Format, list[Letter]]:
    from cdc_platform.cli.failures import UsageError

    if offset is not None and partition is None:
        raise UsageError("an offset is of a partition", remedy="give --partition, too")
    chosen = {
        stored: [
            each for each in letters if partition in (None, each.partition) and offset in (None, each.offset)
        ]
        for stored, letters in _letters(source, table, state).items()
    }
    found = {stored: letters for stored, letters in chosen.items() if letters}
    if not found and offset is not None:
        raise UsageError(
            f"{table} has no {state or ''} dead letter at partition {partition}, offset {offset}".replace(
                "  ", " "
            ),
            remedy=f"see: cdc deadletters list {table} --all",
        )
    return found


def _told(letter: Letter) -> dict[str, object]:
    """Without the bytes, which may be large."""
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "state": letter.state,
        "reason": letter.reason,
        "remedy": letter.remedy,
        "note": letter.note,
        "at": letter.at,
        "bytes": len(letter.value or b""),
    }


def _text(data: bytes | None) -> str | None:
    """Bytes as text where they are text, otherwise with escapes."""
    return None if data is None else data.decode(errors="backslashreplace")
