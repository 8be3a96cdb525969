"""How far the lake must have come to hold everything that had happened in the source by a time.

Invariant: the barrier lies above every event that had happened when it was asked for. What a violation
breaks: the lake would be compared before the last events arrived, and a healthy table would fail.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from cdc_platform.core.columns import CREATE, UPDATE
from cdc_platform.core.model import Records, Stopped
from cdc_platform.core.offsets import Offsets, Stream
from cdc_platform.core.ports import Log, LogReader
from cdc_platform.verify.patience import POLL, Patience
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.verdict import Cause, Unprovable

MARK_AGAIN: Final = 5.0
"""Seconds after which a marker that was not seen is written once more."""


def ends_of_topic(log: Log, stream: Stream, patience: Patience) -> Offsets:
    """Last stable offsets, asked for again while brokers are coming back."""
    return patience.again(lambda: log.ends([stream]))[stream.topic]


def barrier_of(subject: Subject, marker: str, patience: Patience) -> Offsets:
    """Ends of the topic below which every event lies that had happened at T.

    The connector's one task sends the source's changes in their order, in one transaction after the other.
    The first marker is written after T: once a reader of committed records sees it in transaction X, every
    event up to T was sent in X or before. But X's commit reaches the partitions one by one; the table's may
    not have it yet, and their last stable offset would be too low. The second marker is written after the
    first was seen, so it belongs to a later transaction, and a producer cannot begin one before the
    coordinator has put X's commit into every partition (state CompleteCommit, KIP-98). So the last stable
    offsets taken after the second marker was seen lie above X; a second marker makes up for the high
    watermarks that one would need.

    A marker that an initial snapshot reads (``r``) says nothing about the stream and is not counted; written
    again, it comes as a change when the snapshot is done.
    """
    starts = _starts(subject, patience)
    subject.truth.mark(f"{marker}-1")
    reader = _open_markers(subject, starts, patience)
    try:
        _await_marker(reader, subject, f"{marker}-1", patience)
        subject.truth.mark(f"{marker}-2")
        _await_marker(reader, subject, f"{marker}-2", patience)
    finally:
        reader.close()
    return ends_of_topic(subject.log, subject.stream, patience)


def into_kafka(subject: Subject, marker: str, patience: Patience) -> float:
    """Seconds from a marker's commit in the source until a reader of committed records has it.

    What the source had committed before the marker is in Kafka then, too, or in the transaction that is being
    committed there. Raises Unprovable if it does not come while there is patience.
    """
    starts = _starts(subject, patience)
    began = patience.clock()
    subject.truth.mark(marker)
    reader = _open_markers(subject, starts, patience)
    try:
        _await_marker(reader, subject, marker, patience)
    finally:
        reader.close()
    return patience.clock() - began


def _starts(subject: Subject, patience: Patience) -> dict[Stream, Offsets]:
    """Where the markers' topic ends; nothing if there is none yet."""
    known = patience.again(lambda: subject.log.streams([subject.markers]))
    return {stream: ends_of_topic(subject.log, stream, patience) for stream in known.values()}


def _open_markers(subject: Subject, starts: dict[Stream, Offsets], patience: Patience) -> LogReader:
    """A reader from before the marker. The topic may only come to be with the first marker: then from 0."""
    while not starts:
        if not patience.left():
            raise _silent(subject, "its topic does not exist")
        patience.sleep(POLL)
        starts = {s: {} for s in patience.again(lambda: subject.log.streams([subject.markers])).values()}
    return subject.log.reader(starts)


def _await_marker(reader: LogReader, subject: Subject, marker: str, patience: Patience) -> None:
    wanted = marker.encode()
    written = patience.clock()
    while patience.left():
        if patience.clock() - written > MARK_AGAIN:
            subject.truth.mark(marker)
            written = patience.clock()
        for batch in reader.poll(POLL, 10_000):
            if isinstance(batch, Stopped):
                raise batch.error
            if _streamed(subject, batch, wanted):
                return
    raise _silent(subject, "the marker written to the source did not arrive in Kafka")


def _streamed(subject: Subject, batch: Records, marker: bytes) -> bool:
    found = batch.frame.filter(pl.col("key").bin.contains(marker) & pl.col("value").is_not_null())
    return any(subject.operation_of(value) in (CREATE, UPDATE) for value in found["value"])


def _silent(subject: Subject, what: str) -> Unprovable:
    return Unprovable(
        Cause.CONNECTOR_SILENT,
        what,
        where=f"topic {subject.markers}",
        remedy="the check lag says how the connector is (cdc verify --checks lag); after a crash it needs "
        "some seconds",
    )
