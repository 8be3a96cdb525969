"""Waiting for connectors to have read what was there when they started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from cdc_platform.cli.output import Output
from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import await_stream
from cdc_platform.connect.status import Progress
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import log_of

TELL_EVERY: Final = 2.0
"""Seconds between two lines about a snapshot that goes on."""

WORDS: Final = {
    Progress.NOTHING: "nothing committed yet",
    Progress.SNAPSHOT: "snapshot",
    Progress.STREAM: "streaming",
}


def await_streams(
    settings: Settings, sources: Sequence[Source], client: ConnectClient, timeout: float, out: Output
) -> dict[str, float]:
    """Seconds after which each connector was seen streaming, by its name.

    ``timeout``: seconds for all of them. Raises Terminal for a task that failed, Transient at the timeout.
    """
    log = log_of(settings)
    began = time.monotonic()
    seconds = {}
    for source in sources:
        left = max(0.0, timeout - (time.monotonic() - began))
        await_stream(source.connector, client, left, _Lines(source, log, began, out).look)
        seconds[source.connector] = round(time.monotonic() - began, 1)
    return seconds


class _Lines:
    """Tells how far one connector has come: at each change, and every TELL_EVERY seconds in between."""

    def __init__(self, source: Source, log: KafkaLog, began: float, out: Output) -> None:
        self._source, self._log, self._began, self._out = source, log, began, out
        self._told: tuple[Progress, float] | None = None

    def look(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._told and self._told[0] is progress and now - self._told[1] < TELL_EVERY:
            return
        self._told = (progress, now)
        self._out.say(
            f"{self._source.connector}: {WORDS[progress]}, about {self._events():,} events in Kafka, "
            f"{now - self._began:.0f} s"
        )

    def _events(self) -> int:
        """Offsets of the source's topics: a little more than the events, for transactions count too."""
        streams = self._log.streams([self._source.topic(name) for name in self._source.collections])
        return sum(sum(ends.values()) for ends in self._log.ends(list(streams.values())).values())
