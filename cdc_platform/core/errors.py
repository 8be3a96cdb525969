"""Errors that tell an operator what happened, where, and what to do.

    CdcError
    ├── Transient          the same call may succeed later; callers back off and try again, bounded
    │   └── Conflict       another writer committed first: reload the table and plan again
    └── Terminal           trying again cannot help: the table (or command) stops until somebody acts
        ├── SchemaRefused      a value does not fit its column
        ├── EventRefused       bytes that are no change event of the expected shape
        ├── OffsetsLost        Kafka no longer holds records that were not yet committed
        ├── LogTruncated       the committed offset lies beyond the end of the topic
        ├── MovedBack          somebody moved a lake table back: its rows are older than its offsets
        ├── StreamReplaced     the topic or the cluster is another one than the table was filled from
        └── SourceReplaced     an event lies before what the table has from its source, and is not among it

Nothing between the clients and the asset boundary catches these to carry on: an error that is swallowed
is a row that is lost. None of them tells a password: see ``masking``. None has a terminal's colours in it, as
some libraries' texts have.
"""

from __future__ import annotations

import re
from typing import Final

from cdc_platform.core.masking import masked

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class CdcError(Exception):
    """what: the fact; where: topic, partition, offset, table or file:line; remedy: what to do about it."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = masked(_COLOURS.sub("", what))
        self.where = masked(where)
        self.remedy = masked(remedy)
        super().__init__(self.what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.remedy:
            parts.append(f"what to do: {self.remedy}")
        return "\n  ".join(parts)


class Transient(CdcError):
    """May succeed when tried again."""


class Conflict(Transient):
    """Another writer moved the table after our handle was opened."""


class Terminal(CdcError):
    """Needs a person."""


class SchemaRefused(Terminal):
    """A value does not fit the column it belongs to."""


class EventRefused(Terminal):
    """A record that is not a change event of the expected shape."""


class OffsetsLost(Terminal):
    """Retention removed records before they were committed to the lake."""


class LogTruncated(Terminal):
    """The lake is ahead of the topic's end."""


class MovedBack(Terminal):
    """A lake table's rows are older than its offsets say."""


class StreamReplaced(Terminal):
    """Same name, other topic: its offsets mean something else."""


class SourceReplaced(Terminal):
    """Same topic, other history: the source was restored or replaced under its connector."""
