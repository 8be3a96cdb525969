"""Which stream fills a Delta table, in the table's description, from the moment it is made."""

from __future__ import annotations

import re
from typing import Final

from cdc_platform.core.offsets import Stream
from cdc_platform.lake.identity import stream_of

_DESCRIPTION: Final = re.compile(r"cdc stream (?P<identity>.*), (?P<partitions>\d+) partitions")


def description(stream: Stream) -> str:
    return f"cdc stream {stream.identity}, {stream.partitions} partitions"


def filled_by(text: str | None) -> Stream | None:
    """The stream that a description names, with the partitions it had then; None for any other text."""
    found = _DESCRIPTION.fullmatch(text or "")
    return stream_of(found["identity"], int(found["partitions"])) if found else None
