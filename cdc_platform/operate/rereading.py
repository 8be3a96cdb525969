"""Rows that are read again by their connector, awaited until Kafka holds all of them.

Invariants
- What the connector tells of an incremental snapshot goes through the same queue as its rows, after them, and
  is committed with them or after them. So when a reader of committed records sees that it has ended, each of
  its rows was acknowledged by Kafka: the ends of the topic that are asked for then, those of open
  transactions included, lie above all of them. What a violation breaks: the lake would be looked at before
  the rows are there.
- One signal at a time, and the end of a signal is the end of all that were given by then: one that comes
  while the connector reads for another is taken along, and what is told from then on has its id.
- What was given before a signal was heard when its end is told: those rows of SIGNALS go then, and with them
  those that the connector wrote while it read.
- Nothing waits longer than the deadline.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Final

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import notifications_topic
from cdc_platform.connect.deploy import let_tell
from cdc_platform.connect.signals import Ask, asks, forget, require_heard, tell, there
from cdc_platform.connect.status import State
from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.model import Records
from cdc_platform.core.offsets import Offsets, Stream
from cdc_platform.core.ports import LogReader, Registry
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.decode.notification import Notification, notification_of
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.kafka.registry import SchemaRegistry
from cdc_platform.platform import log_of
from cdc_platform.verify.patience import POLL, Patience

_SCANNED: Final = "TABLE_SCAN_COMPLETED"
_COMPLETED: Final = "COMPLETED"
_ABORTED: Final = "ABORTED"
_READ: Final = frozenset({"SUCCEEDED", "EMPTY"})


def reread(
    settings: Settings,
    source: Source,
    names: Sequence[str],
    *,
    patience: Patience,
    keys: Sequence[str] | None = None,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> dict[str, Offsets]:
    """Have the connector read tables again, or the rows of one table with these keys; wait until it has.

    ``keys``: texts as the lake has them in ``_key``; a key that the source does not have is no error. Returns
    each table's ends of its topic: all rows that were read lie below them. Raises Terminal for what a person
    has to change, Transient if it does not end in time; what was asked for goes on then.
    """
    wanted = asks(source, names, keys)
    log = log_of(settings)
    log.create({notifications_topic(source): 1})
    require_connector(settings, source)
    with ConnectClient(settings.connect_url, attempts=3) as client:
        let_tell(source, client)
    registry = SchemaRegistry(settings.registry_url) if settings.registry_url else None
    for ask in wanted:
        if not _read(source, ask, new_id(), log, registry, patience):
            require_connector(settings, source)
            raise Transient(
                f"the connector did not tell in time that it has read {', '.join(ask.names)} again",
                where=f"topic {notifications_topic(source)}",
                remedy="it may be behind (cdc status); what it was asked for goes on: ask again later",
            )
    return {name: _written(log, source.topic(name), patience) for name in names}


def require_connector(settings: Settings, source: Source) -> None:
    """Raise CdcError unless the connector runs and hears of signals."""
    with ConnectClient(settings.connect_url, attempts=3) as client:
        status = client.status(source.connector)
        status.require_not_failed(where=settings.connect_url)
        require_heard(source, client.config(source.connector))
    if not status.is_all(State.RUNNING):
        raise Transient(
            f"the connector does not run: {status}",
            where=f"connector {source.connector}, {settings.connect_url}",
            remedy=f"let it go on: cdc connector resume {source.name}",
        )


def _read(
    source: Source, ask: Ask, signal_id: str, log: KafkaLog, registry: Registry | None, patience: Patience
) -> bool:
    """Whether it has ended before the deadline."""
    topic = notifications_topic(source)
    stream = _stream(log, topic, patience)
    starts = patience.again(lambda: log.ends([stream]))[topic]
    with closing(log.reader({stream: starts})) as reader:
        before = _there(source)
        tell(source, ask, signal_id)
        if not has_ended(_told(reader, registry, patience), signal_id, source):
            return False
    with suppress(CdcError):
        forget(source, [signal_id, *before, *there(source, windows=True)])
    return True


def _there(source: Source) -> list[str]:
    """Signals that will have been heard when a later one has; those that stay are in nobody's way."""
    with suppress(CdcError):
        return there(source)
    return []


def _written(log: KafkaLog, topic: str, patience: Patience) -> Offsets:
    stream = _stream(log, topic, patience)
    return patience.again(lambda: log.written(stream))


def _stream(log: KafkaLog, topic: str, patience: Patience) -> Stream:
    while True:
        found = patience.again(lambda: log.streams([topic]))
        if topic in found:
            return found[topic]
        if not patience.left():
            raise Transient("the topic does not exist", where=f"topic {topic}", remedy="ask again")
        patience.sleep(POLL)


def _told(reader: LogReader, registry: Registry | None, patience: Patience) -> Iterator[Notification]:
    """Until the deadline."""
    while patience.left():
        for batch in reader.poll(POLL, 10_000):
            if not isinstance(batch, Records):
                raise batch.error
            for value in batch.frame["value"].drop_nulls():
                found = notification_of(value, registry)
                if found is not None:
                    yield found


def has_ended(told: Iterator[Notification], signal_id: str, source: Source) -> bool:
    """Whether the reading for this signal ends within what is told. Raises Terminal if it failed."""
    heard = False
    for each in told:
        heard = heard or each.signal_id == signal_id
        if heard:
            _require_read(each, source)
        if heard and each.kind == _COMPLETED:
            return True
    return False


def _require_read(told: Notification, source: Source) -> None:
    where = f"connector {source.connector}, signal {told.signal_id}"
    if told.kind == _ABORTED:
        raise Terminal(
            "somebody has stopped the connector's reading",
            where=where,
            remedy="ask again, when nobody stops it",
        )
    status = told.details.get("status", "SUCCEEDED")
    if told.kind == _SCANNED and status not in _READ:
        raise Terminal(
            f"the connector could not read {told.details.get('scanned_collection', 'a table')}: {status}",
            where=where,
            remedy=f"the worker's log says why; cdc connector snapshot {source.name} reads everything again",
        )
