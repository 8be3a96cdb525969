"""What a proof is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable, Log
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import OpenLetter


def operation_in_json(value: bytes) -> str | None:
    """Of a JSON change event, with or without its schema around it."""
    event = orjson.loads(value)
    operation: str | None = event.get("payload", event).get("op")
    return operation


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven: a table in one format. ``markers``: name of the topic that the marker collection is
    captured into.
    ``operation_of``: the operation that a record of that topic tells of, by its value, None if by none.
    ``open_letters``: the table's dead letters that nobody has dealt with; may raise CdcError.
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
