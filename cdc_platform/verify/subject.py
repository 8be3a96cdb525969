"""What a proof is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable, Log
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import OpenLetter


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven: a table in one format. ``markers``: name of the topic that the marker collection is
    captured into.
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
