"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
SourceName = Annotated[
    str | None, typer.Argument(metavar="[SOURCE]", help="A declared source.", show_default=False)
]

InSource = Annotated[str | None, typer.Option("--source", "-s", help="A source, if several are declared.")]
