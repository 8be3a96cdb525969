"""Makes a table anew: from its changelog, from Kafka, or from a new snapshot of its source.

Invariants
- Nothing is taken away before what replaces it is whole: the new changelog grows beside the lake while the
  table goes on, and each lake table is exchanged in one commit (``replicate.rebuild``).
- The table is held back from the exchange of its changelog until that of its current state. A crash in
  between leaves it held, saying so, and the same command brings it to its end.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Final
from urllib.parse import quote

from filelock import FileLock, Timeout

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Offsets
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.operate.rereading import reread
from cdc_platform.platform import holds, table_replicas, utc_now
from cdc_platform.replicate import Replica
from cdc_platform.replicate.rebuild import (
    Beside,
    Rebuilt,
    exchange,
    from_kafka,
    from_source,
    go_on,
    rebuild_current,
)
from cdc_platform.verify.patience import Patience

PATIENCE: Final = 3600.0
"""Seconds that a new snapshot of one table may take."""


class Origin(StrEnum):
    """What a table is made anew from.

    changelog: the current state, from the changelog as it is. kafka: the changelog too, from the records that
    Kafka still holds; what it does not hold stays as it is. source: both from a new snapshot, with the
    columns that the source has now; the changes of before are given up.
    """

    CHANGELOG = "changelog"
    KAFKA = "kafka"
    SOURCE = "source"


def rebuild(
    settings: Settings, source: Source, table: str, origin: Origin, say: Callable[[str], None]
) -> list[Rebuilt]:
    """All lake tables of a source's table, in all its formats. ``say``: is told each step.

    The table is held back at the end, for as long as its tables are written. Raises CdcError; one that was
    interrupted is done by the same call again.
    """
    replicas, log = table_replicas(settings, source, table)
    with _alone(settings, source, table) as folder:
        if origin is Origin.CHANGELOG:
            with _held(settings, source, table):
                say("making the current state from the changelog")
                return _currents(replicas, origin)
        made = _besides(settings, source, replicas, log, origin, folder, say)
        for each in made:
            say(f"reading the topic for {each.replica.target}, from offsets {dict(each.read_from)}")
            go_on(each, log)
        with _held(settings, source, table) as begun:
            say("exchanging the tables")
            done = []
            for replica, beside in zip(replicas, made, strict=True):
                done.append(exchange(replica, beside, log, origin))
                begun.set()
                done += _currents([replica], origin)
            return done


def _currents(replicas: Sequence[Replica], origin: Origin) -> list[Rebuilt]:
    return [rebuild_current(each, origin) for each in replicas if Kind.CURRENT in each.kinds]


def _besides(
    settings: Settings,
    source: Source,
    replicas: Sequence[Replica],
    log: KafkaLog,
    origin: Origin,
    folder: Path,
    say: Callable[[str], None],
) -> list[Beside]:
    def place(replica: Replica) -> DeltaLakeTable:
        return DeltaLakeTable(folder / replica.format, Kind.CHANGELOG, engine=source.engine)

    if origin is Origin.KAFKA:
        return [from_kafka(each, place(each), log) for each in replicas]
    since = _new_snapshot(settings, source, replicas[0], log, say)
    return [from_source(each, place(each), since) for each in replicas]


def _new_snapshot(
    settings: Settings, source: Source, replica: Replica, log: KafkaLog, say: Callable[[str], None]
) -> Offsets:
    """Where the topic stood before its connector read the whole table into it."""
    since = log.ends([replica.stream])[replica.stream.topic]
    say(f"the connector reads {replica.name} again")
    patience = Patience(time.monotonic, time.sleep, time.monotonic() + PATIENCE)
    reread(settings, source, [replica.name], patience=patience)
    return since


@contextmanager
def _alone(settings: Settings, source: Source, table: str) -> Iterator[Path]:
    """A folder for what is made beside the lake, of this process alone; gone afterwards.

    Raises Conflict if the table is being rebuilt by another one.
    """
    root = settings.state_dir.absolute() / "rebuild" / source.name / quote(table, safe="")
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        try:
            ending.enter_context(FileLock(root / "lock").acquire(timeout=0))
        except Timeout as error:
            raise Conflict(
                f"table {table} is being rebuilt already",
                where=str(root),
                remedy="wait until that is done, and see whether it has to be done again",
            ) from error
        for left in root.glob("made-*"):  # by one that was killed
            shutil.rmtree(left)
        yield Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="made-", dir=root)))


@contextmanager
def _held(settings: Settings, source: Source, table: str) -> Iterator[Event]:
    """Held back meanwhile; who held it before still does. Gives an event to set once a changelog was
    exchanged: what fails from then on leaves the table held, until the same is done again."""
    held, begun = holds(settings, source), Event()
    mine = (before := held.held(table)) is None or before.reason.startswith(_REASON)
    held.hold(table, f"{_REASON}; if that was interrupted, do it again", utc_now())
    try:
        yield begun
    except BaseException:
        if mine and not begun.is_set():
            held.release(table)
        raise
    if mine:
        held.release(table)


_REASON: Final = "it is being rebuilt (cdc rebuild)"
