"""Exceptions become messages and exit codes here, for every command.

Invariant: whatever is raised, the person gets one message, and a script one exit code (and, with ``--json``,
one JSON document). Only ``CDC_DEBUG=1`` adds a traceback.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import orjson
import typer

from cdc_platform.core.errors import CdcError, Transient
from cdc_platform.core.masking import masked


class Exit(IntEnum):
    """Exit codes of ``cdc``. A code keeps its meaning for ever: scripts rely on it."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    UNREACHABLE = 3
    STOPPED = 4
    DIFFERENT = 5
    UNPROVEN = 6
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Final[Mapping[Exit, str]] = MappingProxyType(
    {
        Exit.DONE: "done",
        Exit.ERROR: "an error that needs somebody; `status` found something that is not up",
        Exit.USAGE: "the command line is wrong, or names a source or table that is not declared",
        Exit.UNREACHABLE: "a service did not answer, or another writer was in the way: "
        "the same command may succeed later",
        Exit.STOPPED: "a table stopped and needs somebody; the other tables went on",
        Exit.DIFFERENT: "verified, and a check failed: the lake differs from the source, or is late",
        Exit.UNPROVEN: "could not be verified: neither equal nor different is proven",
        Exit.INTERRUPTED: "interrupted by Ctrl-C",
        Exit.TERMINATED: "ended by SIGTERM",
    }
)
"""The one table of exit codes: ``cdc --help`` is made from it, and the README is held to it by a test."""


class UsageError(CdcError):
    """The command line asks for something that is not there: an unknown source, table or combination."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a person is told, and the exit code that goes with it."""

    what: str
    where: str
    remedy: str
    code: int

    @property
    def text(self) -> str:
        return str(CdcError(self.what, where=self.where, remedy=self.remedy))

    @property
    def fields(self) -> dict[str, str]:
        """The value of ``error`` in a JSON document."""
        return {"what": self.what, "where": self.where, "remedy": self.remedy}


def explain(error: BaseException) -> Message:
    """The message of any exception."""
    match error:
        case CdcError():
            return Message(error.what, error.where, error.remedy, _code(error))
        case typer.TyperException():
            return Message(error.format_message(), "the command line", "see --help", error.exit_code)
        case KeyboardInterrupt():
            return Message("interrupted", "", "", Exit.INTERRUPTED)
        case typer.Abort():
            return Message("not confirmed: nothing was done", "", "answer y, or give --yes", Exit.ERROR)
        case OSError():
            return Message(error.strerror or str(error), str(error.filename or ""), "", Exit.ERROR)
    remedy = "this is a defect: run it again with CDC_DEBUG=1 and report the traceback"
    return Message(masked(f"{type(error).__name__}: {error}"), "", remedy, Exit.ERROR)


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell the person, and return the exit code."""
    if os.environ.get("CDC_DEBUG") == "1":
        typer.echo(masked("".join(traceback.format_exception(error))), err=True, nl=False)
    message = explain(error)
    if as_json:
        typer.echo(orjson.dumps({"error": message.fields}, option=orjson.OPT_INDENT_2))
    else:
        tell(message)
    return message.code


def tell(message: Message) -> None:
    """``error: what / where / what to do``, on stderr."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message.text, err=True)


def _code(error: CdcError) -> Exit:
    match error:
        case UsageError():
            return Exit.USAGE
        case Transient():
            return Exit.UNREACHABLE
        case _:
            return Exit.ERROR
