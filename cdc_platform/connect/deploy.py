"""From a declared source to a connector that runs, and on to one that streams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import Services, connector_config
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.status import ConnectorStatus, Progress
from cdc_platform.core.errors import Transient
from cdc_platform.core.source import Source

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at how far a connector has come: it commits its position about as often."""


def deploy(
    source: Source, client: ConnectClient, deadline: float = 60.0, services: Services | None = None
) -> ConnectorStatus:
    """Prepare the database, create or update the connector, and return once its task runs.

    May be repeated at any time. ``deadline``: seconds for the worker to become ready; each further step has
    its own bound. Raises Terminal for what a person has to correct, Transient if a component does not answer
    in time. ``services``: what the connector reaches beside the database; by default the local stack's.
    """
    prepare(source)
    client.wait_ready(deadline)
    before = client.find(source.connector)
    client.apply(source.connector, connector_config(source, services))
    if before is not None and before.failed:  # the same settings again would not start it
        client.restart(source.connector)
    return client.verify(source.connector, before)


def await_stream(
    name: str,
    client: ConnectClient,
    deadline: float,
    watch: Callable[[Progress], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once the connector streams; its initial snapshot, if it made one, is in Kafka then.

    ``watch``: is told at each look how far it has come. ``deadline``: seconds. Raises Terminal with the trace
    of a task that has failed, Transient if the connector does not stream in time; it goes on by itself.
    """
    end = clock() + deadline
    while (progress := client.progress(name)) is not Progress.STREAM:
        client.status(name).require_not_failed(where=client.url)
        watch(progress)
        if clock() + LOOK_EVERY > end:
            raise Transient(
                f"connector {name} does not stream after {deadline:g} s: it has committed "
                + ("a part of its snapshot" if progress is Progress.SNAPSHOT else "nothing yet"),
                where=client.url,
                remedy="it goes on by itself: look again, with a longer --timeout for a large database",
            )
        sleep(LOOK_EVERY)
    watch(progress)
