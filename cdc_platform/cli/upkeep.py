"""``cdc upkeep``: few files in place of many, and none that no version needs."""

# ruff: noqa: PLC0415  (what a command needs is imported when it runs: see the package's docstring)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_platform.core.errors import CdcError
    from cdc_platform.operate.keeping_up import Kept, Part

    Failed = tuple[Part, CdcError]


def upkeep(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A declared source.")],
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]…", help="Collections of it; all, if none is named.")
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact/--no-compact", help="Make few large files of many small ones.")
    ] = True,
    clean: Annotated[
        bool, typer.Option("--clean/--no-clean", help="Remove files that no version within --hours needs.")
    ] = True,
    hours: Annotated[
        int | None,
        typer.Option(
            min=1, help="Hours that files of older versions stay; otherwise as the source declares."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compact a source's lake tables and remove what no version needs any more, in every format.

    Rows and offsets stay as they are; writers and readers go on meanwhile. One table's trouble is its own:
    the others are kept up, and the exit code is that of the failures. Paused tables are left as they are.

    Example: cdc upkeep shop orders --hours 24
    """
    from cdc_platform.cli.environment import settings
    from cdc_platform.cli.failures import UsageError
    from cdc_platform.cli.output import Output
    from cdc_platform.cli.sources import only, table_of
    from cdc_platform.core.errors import CdcError
    from cdc_platform.operate.keeping_up import Work, keep_up, parts
    from cdc_platform.platform import holds

    if not compact and not clean:
        raise UsageError("there is nothing to do", remedy="leave out --no-compact or --no-clean")
    out, given, declared = Output(as_json=as_json), settings(), only(ctx.obj, source)
    wanted = [table_of(declared, name) for name in tables or declared.collections]
    work = Work(compact, (hours or declared.retention.files_hours) if clean else None)
    held = {name: hold for name, hold in holds(given, declared).all().items() if name in wanted}
    for name, hold in held.items():
        out.say(f"{name} is left as it is: {hold.text}")
    done: list[tuple[Part, Kept]] = []
    failed: list[Failed] = []
    for part in (part for name in wanted if name not in held for part in parts(declared, name)):
        try:
            if (kept := keep_up(given, part, work)) is not None:
                done.append((part, kept))
                out.running.print(_line(part, kept), soft_wrap=True)
        except CdcError as error:
            failed.append((part, error))
    out.show(_document(declared.name, done, failed, list(held)), _summary(done, failed))
    if failed:
        raise typer.Exit(_tell(failed, as_json=as_json))


def _line(part: Part, kept: Kept) -> str:
    """``orders (changelog, delta): 500 files before, 1 after, 42 removed``."""
    from cdc_platform.cli.output import number

    told = (
        (kept.files_before, "files before"),
        (kept.files_after, "after"),
        (kept.removed, "removed"),
    )
    return f"{part.label}: " + ", ".join(f"{number(n)} {what}" for n, what in told if n is not None)


def _summary(done: Sequence[tuple[Part, Kept]], failed: Sequence[Failed]) -> str:
    failures = f", {len(failed)} could not be" if failed else ""
    return f"{len(done)} lake tables kept up{failures}"


def _document(
    source: str, done: Sequence[tuple[Part, Kept]], failed: Sequence[Failed], held: Sequence[str]
) -> dict[str, object]:
    from cdc_platform.cli.failures import explain

    return {
        "source": source,
        "tables": [
            {
                **_named(part),
                "files_before": kept.files_before,
                "files_after": kept.files_after,
                "files_removed": kept.removed,
            }
            for part, kept in done
        ],
        "failed": [{**_named(part), "error": explain(error).fields} for part, error in failed],
        "held": held,
    }


def _named(part: Part) -> dict[str, str]:
    return {"table": part.collection, "contents": str(part.contents), "format": str(part.format)}


def _tell(failed: Sequence[Failed], *, as_json: bool) -> int:
    """What failed, to a person; gives the exit code: an error that needs somebody comes before one that may
    pass."""
    from cdc_platform.cli.failures import Exit, explain, tell
    from cdc_platform.core.errors import Terminal, Transient

    if not as_json:
        for part, error in failed:
            tell(explain(Terminal(f"{part.label}: {error.what}", where=error.where, remedy=error.remedy)))
    passing = all(isinstance(error, Transient) for _, error in failed)
    return Exit.UNREACHABLE if passing else Exit.ERROR
