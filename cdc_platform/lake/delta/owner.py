"""Which stream fills a Delta table, in the table's description, from the moment it is made."""

from __future__ import annotations

import re
from typing import Final

from cdc_platform.core.offsets import NOWHERE, Offsets, Stream
from cdc_platform.lake.identity import stream_of

_DESCRIPTION: Final = re.compile(
    r"cdc stream (?P<identity>.*?), (?P<partitions>\d+) partitions(, from (?P<begun>[\d: ]+))?"
)


def description(stream: Stream, begun: Offsets = NOWHERE) -> str:
    """``begun``: the first offsets that count, where they are not the topic's first."""
    first = " ".join(f"{partition}:{offset}" for partition, offset in sorted(begun.items()))
    return f"cdc stream {stream.identity}, {stream.partitions} partitions{f', from {first}' if first else ''}"


def begun_at(text: str | None) -> dict[int, int]:
    """The first offsets that count, as a description names them."""
    found = _DESCRIPTION.fullmatch(text or "")
    pairs = (each.split(":") for each in ((found and found["begun"]) or "").split())
    return {int(partition): int(offset) for partition, offset in pairs}


def filled_by(text: str | None) -> Stream | None:
    """The stream that a description names, with the partitions it had then; None for any other text."""
    found = _DESCRIPTION.fullmatch(text or "")
    return stream_of(found["identity"], int(found["partitions"])) if found else None
