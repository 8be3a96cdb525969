"""Structured logs of a command that runs for long: for a collector, in place of the lines for a person."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cdc_platform.cli.environment import read
from cdc_platform.core.errors import CdcError
from cdc_platform.logs import Format, Journal, LogSettings, configure


@contextmanager
def journal(source: str, run_id: str) -> Iterator[Journal | None]:
    """A journal on stderr that is told of the error that ends its block, too; None unless logs are JSON."""
    given = read(LogSettings)
    if given.format(Format.CONSOLE) is Format.CONSOLE:
        yield None
        return
    trace = os.environ.get("TRACEPARENT", "")
    configure(given, program="cdc run", usual=Format.CONSOLE, run_id=run_id, traceparent=trace)
    told = Journal(source)
    try:
        yield told
    except CdcError as error:
        told.failed(error)
        raise
