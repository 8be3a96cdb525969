"""What a command prints: a table for a person, or one JSON document for a program.

Invariant: a document shows no password, wherever it comes from; Kafka Connect's traces may quote a connection
string.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import orjson
import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from cdc_platform.core.masking import masked_within

PIPED_WIDTH: Final = 200
"""Columns where there is no terminal to ask: paths and offsets stay on one line."""


class Output:
    """One command's two streams."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.stdout = _console(stderr=False)
        self.stderr = _console(stderr=True)

    @property
    def running(self) -> Console:
        """For what a command prints while it runs: stdout, unless that belongs to the document."""
        return self.stderr if self.as_json else self.stdout

    def say(self, line: str) -> None:
        """Progress and remarks, on stderr."""
        self.stderr.print(line)

    def show(self, document: object, *seen: RenderableType) -> None:
        """The result: ``document`` as JSON (it may hold dataclasses and enums), or what a person sees."""
        if self.as_json:
            options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
            plain = orjson.loads(orjson.dumps(document, default=str, option=options))
            typer.echo(orjson.dumps(masked_within(plain), option=options))
            return
        for each in seen:
            self.stdout.print(each)


def grid(
    headings: Sequence[str], rows: Iterable[Sequence[str | RenderableType]], *, right: str = ""
) -> Table:
    """A table. ``right``: names of the headings with numbers under them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        numeric = heading in right.split()
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def offsets(value: dict[int, int] | None) -> str:
    """``0:42 1:7``, partition and next offset."""
    return " ".join(f"{p}:{o}" for p, o in sorted((value or {}).items())) or "-"


def _console(*, stderr: bool) -> Console:
    # markup would take the brackets of offset ranges for styles
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=False, width=width)
