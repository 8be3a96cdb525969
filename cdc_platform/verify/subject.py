"""What a proof is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from cdc_platform.core.history import History
from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable, Log
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import OpenLetter


def operation_in_json(value: bytes) -> str | None:
    """Of a JSON change event, with or without its schema around it."""
    event = orjson.loads(value)
    operation: str | None = event.get("payload", event).get("op")
    return operation


@dataclass(frozen=True, slots=True)
class Past:
    """Where a proof finds what the last one left, and leaves what it finds. ``history``: of the current
    table. ``now``: UTC. ``every``: how long after a reading of all rows the next one is due; between them
    only what has changed is read. None: all rows are read. ``prefilter``: whether the source is to tell by
    itself which rows have changed.
    """

    notes: Notes
    history: History
    now: Callable[[], datetime]
    every: timedelta | None = None
    prefilter: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven: a table in one format. ``markers``: name of the topic that the marker collection is
    captured into.
    ``operation_of``: the operation that a record of that topic tells of, by its value, None if by none.
    ``open_letters``: the table's dead letters that nobody has dealt with; may raise CdcError. ``past``: None:
    every proof stands by itself, and leaves nothing. ``topic``: how to read the table's topic again, to find
    where a key that differs went wrong.
    """

    table: str
    stream: Stream
    truth: Truth
    log: Log
    changelog: LakeTable
    current: LakeTable
    markers: str
    open_letters: Callable[[], Sequence[OpenLetter]] = tuple
    format: Format = Format.DELTA
    operation_of: Callable[[bytes], str | None] = operation_in_json
    past: Past | None = None
    topic: Callable[[], Topic] | None = None
