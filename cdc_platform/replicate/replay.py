"""Offsets that are committed already, read once more: what is missing is put in, at its own place.

Invariants
- A replay moves no offset. It adds the rows that the changelog lacks, recognised by partition and offset, so
  a replay of what is whole changes nothing, and one that was interrupted is simply done again.
- A row that is put in never goes over a newer one: each key it touches is looked up in the whole changelog,
  and the current state gets that key's last row.
- Only offsets below the changelog's own can be replayed: those beyond are the ordinary run's to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core import columns, schema
from cdc_platform.core.errors import OffsetsLost, Terminal, Transient
from cdc_platform.core.model import RECORD_SCHEMA, Policy, Records, Stopped
from cdc_platform.core.offsets import Offsets, Range, Ranges, describe, ends_of, reached
from cdc_platform.core.ports import Log
from cdc_platform.replicate.appending import stamped
from cdc_platform.replicate.letters import Letter, around, keep_letters, read_letters, settle_letters
from cdc_platform.replicate.recompute import last_rows
from cdc_platform.replicate.repairs import without_void
from cdc_platform.replicate.replica import Replica
from cdc_platform.replicate.resends import mark_put_in
from cdc_platform.replicate.unsent import fill_unsent

REPLAYED: Final = "cdc.replayed"
"""Key of a commit's metadata that tells a replay's ranges. It has no ``cdc.ranges``: no offset moves."""

_PLACE: Final = [columns.PARTITION, columns.OFFSET]
_NOT_COMMITTED: Final = "its offset is not committed yet: the next run reads its record again"
_SILENCE: Final = 60
"""Seconds without a record after which a replay gives up."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """``read``: events in the ranges. ``added``: rows that the changelog lacked. ``keys``: recomputed in the
    current state. ``dead``: events that still cannot become rows, as (partition, offset, reason)."""

    ranges: Ranges
    read: int
    added: int
    keys: int
    dead: tuple[tuple[int, int, str], ...] = ()


def replay(replica: Replica, log: Log, ranges: Ranges) -> Replayed:
    """Read the ranges from Kafka again, in batches of ``limits.batch_rows`` records at most.

    Open letters that became rows are settled. Raises Terminal if an offset is not committed yet, OffsetsLost
    if Kafka does not hold one any more, Transient if Kafka stays silent.
    """
    _check(replica, log, ranges)
    letters = read_letters(replica.letters, replica.stream)
    done = [
        _replay_records(replica, each, {"replayed with its offsets": letters})
        for each in _read(replica, log, ranges)
    ]
    dead = tuple(letter for each in done for letter in each.dead)
    return Replayed(
        ranges, sum(each.read for each in done), sum(each.added for each in done),
        sum(each.keys for each in done), dead,
    )  # fmt: skip


def replay_letters(
    replica: Replica, letters: Sequence[Letter], values: Mapping[tuple[int, int], bytes]
) -> Replayed:
    """Decode dead letters again, in their partitions' order, and settle those that become rows.

    ``values``: repaired values by partition and offset, for letters whose own bytes can never be decoded. A
    letter that was kept by a writer that did not get to its commit stays open: its record is still to come.
    """
    committed = replica.retrying(replica.changelog.open, replica.stream).offsets
    ready = {_place(each): each for each in letters if each.offset < committed.get(each.partition, 0)}
    waiting = tuple((*_place(each), _NOT_COMMITTED) for each in letters if _place(each) not in ready)
    rows = [
        (*at, each.timestamp_ms, each.key, values.get(at, each.value)) for at, each in sorted(ready.items())
    ]
    notes = {
        "replayed with a repaired value": [each for at, each in ready.items() if at in values],
        "replayed as it was": [each for at, each in ready.items() if at not in values],
    }
    frame = pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row")
    done = _replay_records(replica, Records(replica.stream, frame, around(list(ready.values()))), notes)
    return dataclasses.replace(done, dead=(*done.dead, *waiting))


def _place(letter: Letter) -> tuple[int, int]:
    return letter.partition, letter.offset


def _replay_records(replica: Replica, records: Records, notes: Mapping[str, Sequence[Letter]]) -> Replayed:
    """``notes``: what to write down of which letters, those that are rows now."""
    done = replica.retrying(_put_in, replica, records)
    keys = done.rows[columns.KEY].drop_nulls().unique()
    if len(keys):
        replica.retrying(_recompute, replica, keys, records.ranges)
    replica.probe("before_settling")
    places = set(done.rows.select(_PLACE).rows())
    for note, letters in notes.items():
        settled = [each for each in letters if _place(each) in places]
        replica.retrying(
            settle_letters, replica.letters, replica.stream, settled, columns.REPLAYED, note, replica.now()
        )
    dead = tuple(done.dead.select(*_PLACE, "reason").rows())
    return Replayed(records.ranges, done.events, done.added, len(keys), dead)


@dataclass(frozen=True, slots=True)
class _PutIn:
    """``rows``: all that the records became. ``added``: how many of them the changelog lacked. ``dead``: what
    cannot become rows. ``events``: records without the tombstones."""

    rows: pl.DataFrame
    added: int
    dead: pl.DataFrame
    events: int


def _put_in(replica: Replica, records: Records) -> _PutIn:
    table = replica.changelog
    handle = table.open(replica.stream)
    # Where the policy is to stop, what does not fit is a letter: a replay has nobody to stop.
    values = Policy.JSON if replica.values is Policy.JSON else Policy.QUARANTINE
    known = replica.columns(handle)
    decoded = replica.decode(records, known, dataclasses.replace(replica.rules, values=values))
    there = table.read(handle, records.ranges).select(_PLACE).collect()
    missing = decoded.frame.join(there, on=_PLACE, how="anti")
    missing = fill_unsent(replica, handle, missing, decoded.unsent).rows
    missing = without_void(missing, decoded.repairs, table, handle)
    # What is a row already, by a policy that the source had before, is none.
    dead = decoded.letters.join(there, on=_PLACE, how="anti")
    now = replica.now()
    keep_letters(replica.letters, replica.stream, dead, records.ranges, now)
    if missing.height:
        marked = mark_put_in(replica, handle, missing, decoded.repairs)
        rows = schema.fit(stamped(marked, now), known, where=f"table {replica.name}")
        replica.probe("before_replay:changelog")
        table.append(handle, rows, {}, {REPLAYED: describe(records.ranges)})
    replica.probe("after_replay:changelog")
    events = records.frame.height - decoded.tombstones
    return _PutIn(decoded.frame, missing.height, dead, events)


def _recompute(replica: Replica, keys: pl.Series, ranges: Ranges) -> None:
    # In this order: another writer may move both tables in between, and only ahead.
    target = replica.current.open(replica.stream)
    source = replica.changelog.open(replica.stream)
    # What the current state has not merged yet it will merge by itself. Committed also without a row: a merge
    # that opened the changelog before the rows were put in must not pass them with what it knew.
    emptied = replica.truncations.newest(replica.changelog, source, target.offsets)
    rows = last_rows(replica.changelog, source, keys, target.offsets, emptied)
    fitted = schema.fit(rows, target.logical, where=f"table {replica.name}")
    replica.current.merge(target, fitted, {}, {REPLAYED: describe(ranges)})


def _check(replica: Replica, log: Log, ranges: Ranges) -> None:
    handle = replica.changelog.open(replica.stream)
    committed, begun = handle.offsets, handle.begun
    available = log.available([replica.stream]).get(replica.stream.topic, {})
    for partition, wanted in ranges.items():
        where = f"topic {replica.stream.topic}, partition {partition}"
        if wanted.end > committed.get(partition, 0):
            raise Terminal(
                f"offset {wanted.end - 1} is not committed yet: the table stands at "
                f"{committed.get(partition, 0)}",
                where=where,
                remedy="replay only what lies before that; the rest is read by the next run",
            )
        if wanted.start < (first := begun.get(partition, 0)):
            raise Terminal(
                f"the changelog begins at offset {first}: it was made anew there from its source",
                where=where,
                remedy=f"replay from {first} on; what was before is no part of it",
            )
        held = available.get(partition, Range(0, 0))
        if wanted.start < held.start or wanted.end > held.end:
            raise OffsetsLost(
                f"Kafka holds offsets {held.start} to {held.end - 1}, not all of "
                f"{describe({partition: wanted})}",
                where=where,
                remedy=f"replay what it holds; for the rest: cdc rebuild {replica.name} --from source",
            )


def _read(replica: Replica, log: Log, ranges: Ranges) -> Iterator[Records]:
    """The records of the ranges, ``limits.batch_rows`` at most at a time."""
    starts: Offsets = {p: wanted.start for p, wanted in ranges.items()}
    others = {
        p: end for p, end in log.ends([replica.stream])[replica.stream.topic].items() if p not in ranges
    }
    ends = ends_of(ranges)
    reader = log.reader({replica.stream: {**others, **starts}})
    position, silent = dict(starts), 0
    try:
        while not reached(position, ends):
            batches = reader.poll(1.0, replica.limits.batch_rows)
            silent = 0 if batches else silent + 1
            if silent >= _SILENCE:
                raise Transient(
                    f"Kafka sent no record for {_SILENCE} s",
                    where=f"topic {replica.stream.topic}, offsets {position}",
                    remedy="check that the brokers run, then replay again",
                )
            for batch in batches:
                if isinstance(batch, Stopped):
                    raise batch.error
                position |= {p: r.end for p, r in batch.ranges.items() if p in ends}
                if (inside := _within(batch, ranges)) is not None:
                    yield inside
    finally:
        reader.close()


def _within(batch: Records, ranges: Ranges) -> Records | None:
    cut = {
        p: Range(max(r.start, ranges[p].start), min(r.end, ranges[p].end))
        for p, r in batch.ranges.items()
        if p in ranges and r.start < ranges[p].end
    }
    if not cut:
        return None
    wanted = pl.any_horizontal(
        [(pl.col("partition") == p) & pl.col("offset").is_between(r.start, r.end - 1) for p, r in cut.items()]
    )
    return Records(batch.stream, batch.frame.filter(wanted), cut)
