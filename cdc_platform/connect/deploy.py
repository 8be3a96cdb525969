"""From a declared source to a connector that runs, and on to one that streams."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import Services, connector_config, notifying
from cdc_platform.connect.config.tables import newly_included
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.prepare.defaults import require_nulls_kept
from cdc_platform.connect.signals import read_again, readable
from cdc_platform.connect.slots import drop_slot
from cdc_platform.connect.status import ConnectorStatus, Progress
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at how far a connector has come: it commits its position about as often."""


def deploy(
    source: Source,
    client: ConnectClient,
    deadline: float = 60.0,
    services: Services | None = None,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> ConnectorStatus:
    """Prepare the database, create or update the connector, and return once its task runs.

    May be repeated at any time. Tables that are new to a connector that is there already are read into Kafka,
    too. ``deadline``: seconds for the worker to become ready; each further step has its own bound.
    ``services``: what the connector reaches beside the database; by default the local stack's. Raises
    Terminal for what a person has to correct, Transient if a component does not answer in time.
    """
    prepare(source)
    if source.engine is not Engine.MONGODB:
        require_nulls_kept(source, services or Services())
    client.wait_ready(deadline)
    before = client.find(source.connector)
    had = client.config(source.connector) if before is not None else {}
    client.apply(source.connector, connector_config(source, services))
    if before is not None and before.failed:  # the same settings again would not start it
        client.restart(source.connector)
    status = client.verify(source.connector, before)
    if had and source.engine is not Engine.MONGODB:
        _read_new(source, newly_included(source, had), new_id())
    return status


def take_up(source: Source, names: Sequence[str], client: ConnectClient, signal_id: str) -> None:
    """Read tables of PostgreSQL that were found while their connector runs: what they had before, too.

    The connector knows the tables that were there when it started; it is restarted, which loses nothing.
    """
    if source.engine is not Engine.POSTGRESQL or client.find(source.connector) is None:
        return
    client.restart(source.connector, only_failed=False)
    client.verify(source.connector)
    _read_new(source, names, signal_id)


def _read_new(source: Source, names: Sequence[str], signal_id: str) -> None:
    """Raises Terminal for tables whose rows have to be read in another way; they are captured from now on."""
    if there := [name for name in names if readable(source, name)]:
        read_again(source, there, signal_id)
    if others := [name for name in names if name not in there]:
        raise Terminal(
            f"{', '.join(others)}: captured from now on, but the connector cannot read by itself what was "
            f"there before: that takes a key, and a name in letters, digits, '_' and '-'",
            where=f"source {source.name}",
            remedy=f"if it had rows, read everything again: cdc connector snapshot {source.name}",
        )


def keep_silent(source: Source, client: ConnectClient) -> None:
    """A connector that is about to make an initial snapshot must not tell of it: see ``config.notifying``."""
    config, telling = client.config(source.connector), notifying(source)
    if telling.keys() & config.keys():
        client.apply(source.connector, {name: value for name, value in config.items() if name not in telling})


def let_tell(source: Source, client: ConnectClient) -> None:
    """Have a connector that streams tell how far its incremental snapshots have come, from now on.

    It is restarted for that once, which loses nothing. Raises Transient while it makes its initial snapshot.
    """
    config, telling = client.config(source.connector), notifying(source)
    if telling.items() <= config.items():
        return
    if client.progress(source.connector) is not Progress.STREAM:
        raise Transient(
            "the connector has not come to streaming yet: its initial snapshot reads all rows",
            where=f"connector {source.connector}",
            remedy="wait until it streams (cdc connector apply --wait)",
        )
    before = client.status(source.connector)
    client.apply(source.connector, {**config, **telling})
    client.verify(source.connector, before)


def snapshot(source: Source, client: ConnectClient, deadline: float = 60.0) -> ConnectorStatus:
    """Read everything there is again, then stream. Returns once the connector's tasks run.

    The topics go on: rows that are read again follow those that were streamed. PostgreSQL gets a new slot,
    whose beginning is the very moment that is read. ``deadline``: seconds for each step.
    """
    keep_silent(source, client)
    client.forget(source.connector, deadline)
    if source.engine is Engine.POSTGRESQL:
        drop_slot(source, deadline=deadline)
    prepare(source)
    return client.resume(source.connector, deadline)


def delete(source: Source, client: ConnectClient, deadline: float = 60.0, *, keep: bool = False) -> None:
    """Remove the connector. Its topics stay; its position too, but not of PostgreSQL, unless ``keep``.

    There the position is a slot, for which the server keeps its log until the disk is full: it is dropped,
    with the publication, and a connector that comes back reads everything again. ``deadline``: seconds for
    each step. Raises Terminal or Transient with the statements to run if the slot cannot be dropped.
    """
    slot = source.engine is Engine.POSTGRESQL and not keep
    if slot:
        client.forget(source.connector, deadline)
    client.delete(source.connector, deadline)
    if slot:
        drop_slot(source, publication=True, deadline=deadline)


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
