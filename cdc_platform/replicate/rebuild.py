"""A table made anew: its current state from the changelog, its changelog from Kafka or a new snapshot.

Invariants
- A lake table is exchanged in one commit: readers see the one before or the new one, never half of it.
- The new changelog is made by the very code that fills changelogs, in a table beside the lake; the current
  state is made from the changelog, as always.
- A changelog that keeps rows never goes back: the new one stands where the one before stands, or further.
  One that begins anew stands where its topic ends, wherever the one before stood; and a current table stands
  where its changelog does.
- What Kafka does not hold any more, and what a person has repaired, is kept as it is. Of another topic than
  the table's nothing is: its offsets mean something else.

What a violated invariant breaks: with lower offsets the next run would put rows in a second time; without the
repaired rows, letters that were dealt with would be open again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import (
    DELETE,
    DISCARDED,
    KEY,
    METADATA,
    OFFSET,
    OPERATION,
    PARTITION,
    REPLAYED,
)
from cdc_platform.core.errors import OffsetsLost, StreamReplaced
from cdc_platform.core.history import REBUILT
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Format, Handle, Kind
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream, reached
from cdc_platform.core.ports import LakeTable, Log
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.core.schema import fit
from cdc_platform.decode.fold import newest
from cdc_platform.replicate.letters import Letter, around, read_letters, settle_letters
from cdc_platform.replicate.once import append_all
from cdc_platform.replicate.replica import Replica
from cdc_platform.replicate.truncation import Truncations, standing

PASS_ROWS: Final = 2_000_000
"""Changelog rows folded at once: about 100 bytes each, plus their keys."""

FRAME_ROWS: Final = 100_000
"""Rows written at once."""

_PLACE: Final = [PARTITION, OFFSET]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """``rows``: of the table as it is now. ``kept``: rows among them that were taken over as they were, as
    Kafka does not hold their records any more, or a person had repaired them."""

    table: str
    format: Format
    kind: Kind
    version: int
    rows: int
    offsets: Offsets
    kept: int = 0


def rebuild_current(replica: Replica, origin: str, pass_rows: int = PASS_ROWS) -> Rebuilt:
    """Make the current state from the whole changelog. ``origin``: what is written down as the reason.

    Keys are folded in as many passes over the changelog as memory asks for. Raises Conflict if other writers
    move the table for too long: hold it back.
    """
    return replica.retrying(_rebuild_current, replica, origin, pass_rows)


def _rebuild_current(replica: Replica, origin: str, pass_rows: int) -> Rebuilt:
    # In this order: another writer may move both tables in between, and only ahead.
    target = replica.current.adopt(replica.stream)
    source = replica.changelog.open(replica.stream)
    counted = _Counted(_folded(replica.changelog, source, pass_rows))
    replica.probe("before_rebuild:current")
    info = {REBUILT: origin}
    made = replica.current.replace(target, counted, source.logical, source.offsets, info)
    replica.probe("after_rebuild:current")
    return Rebuilt(replica.name, replica.format, Kind.CURRENT, made.version, counted.rows, source.offsets)


def _folded(changelog: LakeTable, handle: Handle, pass_rows: int) -> Iterator[pl.DataFrame]:
    """The rows of the current state, by logical types."""
    emptied = Truncations().newest(changelog, handle, handle.offsets)
    history = standing(changelog.read(handle), emptied)
    passes = history.select(pl.len()).collect().item() // pass_rows + 1
    for number in range(passes):
        mine = history.filter(pl.col(KEY).hash() % passes == number)
        places = newest(mine).collect().lazy().select(_PLACE)
        live = mine.join(places, on=_PLACE, how="semi").filter(pl.col(OPERATION) != DELETE)
        yield from _frames(live, handle)


def _frames(rows: pl.LazyFrame, handle: Handle) -> Iterator[pl.DataFrame]:
    """Some rows at a time, by logical types."""
    for frame in rows.collect_batches(chunk_size=FRAME_ROWS, maintain_order=False):
        yield unstored(frame, handle.logical)


@dataclass(slots=True)
class _Counted:
    """Frames, and the rows in those that were taken."""

    frames: Iterable[pl.DataFrame]
    rows: int = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for frame in self.frames:
            self.rows += frame.height
            yield frame


@dataclass(frozen=True, slots=True)
class Beside:
    """A changelog that is being made beside the one it is to replace.

    ``replica``: writes to it. ``read_from``: per partition the first offset whose record is read again.
    ``begun``: the first that counts. ``anew``: whether nothing of before is kept; else ``kept`` rows are.
    """

    replica: Replica
    read_from: Offsets
    begun: Offsets
    anew: bool = False
    kept: int = 0

    def has_read(self, letter: Letter) -> bool:
        """Whether the letter's record is among those that are read again."""
        return letter.offset >= self.read_from.get(letter.partition, 0)

    @property
    def note(self) -> str:
        """What is written down of letters that nobody needs any more."""
        return "rebuilt from a new snapshot" if self.anew else "rebuilt from the topic"


def from_kafka(replica: Replica, beside: LakeTable, log: Log) -> Beside:
    """Begin with the rows whose records Kafka does not hold any more; columns keep their types.

    ``beside``: a table that does not exist yet. Raises OffsetsLost if Kafka does not hold all that follows.
    """
    handle = replica.changelog.adopt(replica.stream)
    held = log.available([replica.stream])[replica.stream.topic]
    first = {p: max(each.start, handle.begun.get(p, 0)) for p, each in held.items()}
    if lost := {p: start for p, start in first.items() if start > handle.offsets.get(p, 0)}:
        raise OffsetsLost(
            f"Kafka removed the records before offsets {lost} before they were committed to the lake",
            where=f"table {replica.name}, topic {replica.stream.topic}",
            remedy=f"rebuild it from a new snapshot: cdc rebuild {replica.name} --from source",
        )
    declared = pl.Schema({n: dtype for n, dtype in handle.logical.items() if n not in METADATA})
    own = _own(replica, beside, declared)
    kept = 0
    before = {p: Range(0, start) for p, start in first.items() if start}
    if before:
        for frame in _frames(replica.changelog.read(handle, before), handle):
            kept += frame.height
            _put(own, frame, {})
        _put(own, pl.DataFrame(schema=handle.logical), before)
    return Beside(own, first, handle.begun, kept=kept)


def from_source(replica: Replica, beside: LakeTable, since: Offsets) -> Beside:
    """Begin at ``since``, with no rows and none of the columns: a snapshot that began then reads all of them
    into the topic. ``beside``: a table that does not exist yet.

    Nor is it remembered how far the source had come: the one there is may have been restored.
    """
    handle = beside.open(replica.stream)
    before = {p: Range(0, start) for p, start in since.items() if start}
    beside.append(handle, pl.DataFrame(schema=handle.logical), before, {})
    # Who asks for the columns that the source has now has taken them.
    taking = dataclasses.replace(replica, compatibility=Compatibility.NONE)
    return Beside(_own(taking, beside, replica.declared), since, since, anew=True)


def _own(replica: Replica, beside: LakeTable, declared: pl.Schema) -> Replica:
    """Its letters and the history of its schema are the table's: those of this topic."""
    for table in (replica.letters, replica.history.table):
        if table is not None and table.exists():
            replica.retrying(_without_strange, table, replica.stream)
    return dataclasses.replace(
        replica,
        changelog=beside,
        kinds=frozenset({Kind.CHANGELOG}),
        declared=declared,
        truncations=Truncations(),
    )


def _without_strange(table: LakeTable, stream: Stream) -> None:
    """A table whose rows are about another topic is this one's from now on, and empty."""
    try:
        table.open(stream)
    except StreamReplaced:
        handle = table.adopt(stream)
        table.replace(handle, [], handle.logical, {}, {})


def _put(own: Replica, rows: pl.DataFrame, advance: Ranges) -> None:
    handle = own.changelog.open(own.stream)
    known = own.columns(handle)
    own.changelog.append(handle, fit(rows, known, where=f"table {own.name}"), advance, {})


def go_on(beside: Beside, log: Log) -> None:
    """Bring the new changelog to where its topic ends now."""
    append_all(beside.replica, log)


def exchange(replica: Replica, beside: Beside, log: Log, origin: str) -> Rebuilt:
    """Put the new changelog, brought to the topic's end, in the place of the one before.

    ``origin``: what is written down as the reason. The current state is to be rebuilt after it. Raises
    Conflict if other writers move the table for too long: hold it back.
    """
    made = replica.retrying(_exchange, replica, beside, log, origin)
    for state, letters in _needless(replica, beside):
        replica.retrying(
            settle_letters, replica.letters, replica.stream, letters, state, beside.note, replica.now()
        )
    return made


def _exchange(replica: Replica, beside: Beside, log: Log, origin: str) -> Rebuilt:
    handle = replica.changelog.adopt(replica.stream)
    go_on(beside, log)  # to the topic's end, and so to where the changelog stands, at least
    repaired = _take_repaired(replica, handle, beside)
    new = beside.replica.changelog.open(replica.stream)
    if not beside.anew and not reached(new.offsets, handle.offsets):
        raise OffsetsLost(
            f"the topic ends at {dict(new.offsets)}, before the offsets {dict(handle.offsets)} that the "
            "table has committed",
            where=f"table {replica.name}, topic {replica.stream.topic}",
            remedy="the broker lost data, or the table is from elsewhere: "
            f"cdc rebuild {replica.name} --from source",
        )
    counted = _Counted(_frames(beside.replica.changelog.read(new), new))
    replica.probe("before_rebuild:changelog")
    info = {REBUILT: origin}
    made = replica.changelog.replace(
        handle, counted, new.logical, new.offsets, info, new.positions, beside.begun
    )
    replica.probe("after_rebuild:changelog")
    kept = beside.kept + repaired
    return Rebuilt(
        replica.name, replica.format, Kind.CHANGELOG, made.version, counted.rows, new.offsets, kept
    )


def _take_repaired(replica: Replica, handle: Handle, beside: Beside) -> int:
    """Take over the rows of letters that were replayed with another value than their record's."""
    letters = read_letters(replica.letters, replica.stream, REPLAYED)
    wanted = [each for each in letters if beside.has_read(each)]
    if not wanted:
        return 0
    places = pl.LazyFrame(
        {PARTITION: [each.partition for each in wanted], OFFSET: [each.offset for each in wanted]},
        schema={PARTITION: pl.Int32, OFFSET: pl.Int64},
    )
    ranges = around(wanted)
    own = beside.replica
    there = own.changelog.read(own.changelog.open(own.stream), ranges).select(_PLACE)
    rows = replica.changelog.read(handle, ranges).join(places, on=_PLACE, how="semi")
    missing = unstored(rows.join(there, on=_PLACE, how="anti").collect(), handle.logical)
    if missing.height:
        _put(own, missing, {})
    return missing.height


def _needless(replica: Replica, beside: Beside) -> Iterator[tuple[str, list[Letter]]]:
    """Letters that need nobody any more: their records are rows now, or lie before the snapshot."""
    letters = read_letters(replica.letters, replica.stream)
    if beside.anew:
        yield DISCARDED, [each for each in letters if not beside.has_read(each)]
    if after := [each for each in letters if beside.has_read(each)]:
        table = replica.changelog
        rows = table.read(table.open(replica.stream), around(after)).select(_PLACE).collect()
        places = set(rows.rows())
        yield REPLAYED, [each for each in after if (each.partition, each.offset) in places]
