"""The replication slot of a PostgreSQL source: PostgreSQL keeps its log for it, whether anybody reads or not.

Invariants
- Nobody loses a slot that is read: it is dropped only when its connector has stopped, and with it goes the
  connector's position, so that a connector that comes back reads everything again instead of going on beyond
  a gap.
- A slot that nobody will read again does not fill the disk unnoticed: whoever deletes its connector drops it,
  or is told how.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from psycopg import errors

from cdc_platform.connect.postgresql import Connection, opened, rows, where
from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.source import Source

LOOK_EVERY: Final = 0.2


def drop_slot(
    source: Source,
    *,
    publication: bool = False,
    deadline: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Drop the slot of a connector that has stopped, and its publication if that is asked for.

    ``deadline``: seconds to wait for the server to see that the connector has gone. Raises Transient if it
    does not, Terminal if the user may not; both with the statements that do it.
    """
    by_hand = f"SELECT pg_drop_replication_slot('{source.slot}');"
    if publication:
        by_hand += f' DROP PUBLICATION IF EXISTS "{source.slot}";'
    try:
        with opened(source) as connection:
            _drop(source, connection, clock() + deadline, sleep, clock)
            if publication:
                connection.execute(f'DROP PUBLICATION IF EXISTS "{source.slot}"'.encode())
    except CdcError as error:
        raise type(error)(
            f"the replication slot {source.slot} is still there: {error.what}",
            where=error.where,
            remedy=f"it keeps PostgreSQL's log until the disk is full: run {by_hand}",
        ) from error


def require_streamed(source: Source, connection: Connection) -> None:
    """Raise Terminal if changes are missing from the stream of a connector that has a slot already."""
    found = rows(
        connection,
        "SELECT wal_status, EXISTS (SELECT FROM pg_publication WHERE pubname = slot_name) "
        "FROM pg_replication_slots WHERE slot_name = %s",
        source.slot,
    )
    if not found:
        return
    [(status, published)] = found
    if status == "lost":
        raise _gap(
            source,
            f"PostgreSQL has removed log that the replication slot {source.slot} still needed "
            f"(max_slot_wal_keep_size)",
            "let PostgreSQL keep more, and ",
        )
    if not published:
        raise _gap(source, f"the publication {source.slot} was dropped while its connector read it", "")


def _gap(source: Source, why: str, first: str) -> Terminal:
    return Terminal(
        f"{why}: changes are missing from the stream",
        where=where(source),
        remedy=f"{first}read everything anew: cdc connector snapshot {source.name}; then remove with cdc "
        f"reconcile what was deleted meanwhile",
    )


def _drop(
    source: Source,
    connection: Connection,
    end: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    while True:
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (source.slot,))
        except errors.UndefinedObject:
            return
        except errors.ObjectInUse as error:
            if clock() + LOOK_EVERY > end:
                raise Transient(str(error).splitlines()[0], where=where(source)) from error
            sleep(LOOK_EVERY)
        else:
            return
