"""What the tables must hold, at the end and at every version on the way.

The oracle is plain Python over what was written into the log. It shares nothing with the platform.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import polars as pl
from bson import json_util

from cdc_platform.core.columns import (
    DELETE,
    JSON_SUFFIX,
    KEY,
    METADATA,
    OFFSET,
    OPERATION,
    OTHERS,
    PARTITION,
    RESENT,
)
from cdc_platform.core.model import Policy
from cdc_platform.core.offsets import RANGES, Offsets, parse
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.memory import MemoryTable, Version
from cdc_platform.replicate.letters import read_letters
from tests.replicate.events import key_text
from tests.simulation.replicator import Shared
from tests.simulation.world import Delivered, Place, World


def check_end(shared: Shared, *, stopped: bool) -> None:
    """Every event below the offsets is a row or an open letter, and the current table is the last rows.

    ``stopped``: by the policy, at an event; otherwise the tables stand at the topic's ends.
    """
    world = shared.world
    offsets = _offsets(shared, "changelog")
    assert offsets == _offsets(shared, "current"), "the current table stands where its changelog does"
    if not stopped:
        assert offsets == world.ends, "the tables stand at the topic's ends"
    below = [e for e in world.delivered if e.offset < offsets.get(e.partition, 0)]
    changelog = _rows(shared, "changelog")
    rows = _check_rows(world, changelog)
    opened = {(each.partition, each.offset) for each in _letters(shared)}
    lost = {e.place for e in below} - rows.keys() - opened
    assert not lost, f"an event is a row or an open letter: {lost}"
    assert rows.keys() <= {e.place for e in below}, "the changelog holds nothing beyond its offsets"
    if not (world.traits.values is Policy.QUARANTINE and world.traits.mixing):
        extra = opened - {e.place for e in below if e.poison}
        assert not extra, f"only what cannot become a row is a letter: {extra}"
    if stopped:
        assert not opened | {e.place for e in below if e.poison}, "a table that refuses stops before it"
    _check_current(shared, changelog, rows)


def check_source(shared: Shared) -> None:
    """With every letter repaired: nothing is missing, and the current table is the source."""
    world = shared.world
    assert not _letters(shared), "no letter is open"
    changelog = _rows(shared, "changelog")
    rows = _check_rows(world, changelog)
    true = {e.place for e in world.delivered if e.true is not None}
    assert rows.keys() == true, "the changelog holds every change of the source once"
    _check_current(shared, changelog, rows)
    found = {known[KEY]: doc for known, doc in documents(_rows(shared, "current"))}
    expected = {key_text(key): _plain(doc) for key, doc in world.source.documents.items()}
    assert found == expected, "the current table is the source"


def _check_rows(world: World, rows: pl.DataFrame) -> dict[Place, Delivered]:
    """Each row is the event of its place, as it was; gives the events."""
    events = {e.place: e for e in world.delivered}
    found = {}
    for known, doc in documents(rows):
        place = known[PARTITION], known[OFFSET]
        assert place not in found, f"an event is in the changelog once: {place}"
        assert place in events, f"every row was delivered: {place}"
        found[place] = event = events[place]
        assert (known[KEY], known[OPERATION], doc) == (event.key, event.operation, _plain(event.doc)), (
            f"every row holds its event as it was: {place}"
        )
    again = {place for place, event in events.items() if event.first is not None}
    assert _resent(rows) <= again, "only what was sent again is marked so"
    return found


def _resent(rows: pl.DataFrame) -> set[Place]:
    return set(rows.filter(pl.col(RESENT)).select(PARTITION, OFFSET).iter_rows())


def _check_current(shared: Shared, changelog: pl.DataFrame, rows: dict[Place, Delivered]) -> None:
    found = [(known[KEY], doc) for known, doc in documents(_rows(shared, "current"))]
    assert len(found) == len(dict(found)), "the current table has one row a key"
    resent = _resent(changelog)
    last = _last(event for place, event in rows.items() if place not in resent)
    expected = {key: _plain(event.doc) for key, event in last.items() if event.operation != DELETE}
    assert dict(found) == expected, "the current table is the last row of each key"


def _last(rows: Iterable[Delivered]) -> dict[str, Delivered]:
    """In its partition the last one delivered counts; between partitions the later one at the source."""
    newest: dict[tuple[str, int], Delivered] = {}
    for event in sorted(rows, key=lambda e: e.offset):
        newest[event.key, event.partition] = event
    last: dict[str, Delivered] = {}
    for event in sorted(newest.values(), key=lambda e: e.at):
        last[event.key] = event
    return last


def check_versions(shared: Shared) -> None:
    """Tables in memory keep all their versions: what must hold for every one of them."""
    versions: dict[str, tuple[Version, ...]] = {}
    for name, table in shared.tables.items():
        if not isinstance(table, MemoryTable):
            return
        versions[name] = table.versions
    way = _Way(shared)
    for name, number in shared.made:
        version = versions[name][number]
        match name:
            case "letters":
                way.letters(version)
            case "changelog":
                way.changelog(version)
            case _:
                way.current(version)
    way.end()


class _Way:
    """The tables' versions, in the order in which they were committed."""

    def __init__(self, shared: Shared) -> None:
        self._world = shared.world
        self._resent = _resent(_rows(shared, "changelog"))
        self._events = {e.place: e for e in shared.world.delivered}
        self._appended: set[Place] = set()
        self._put_in: set[Place] = set()
        self._kept: set[Place] = set()
        self._ranks: dict[str, int] = {}
        self._covered: dict[str, dict[int, int]] = {"changelog": {}, "current": {}}
        self._counted: Counter[str] = Counter()

    def letters(self, version: Version) -> None:
        first = version.rows.filter(pl.col("revision") == 0)
        places = Counter(first.select(PARTITION, OFFSET).rows())
        assert not [p for p, times in places.items() if times > 1], "a letter is kept once"
        self._kept = set(places)

    def changelog(self, version: Version) -> None:
        """Exactly what lies below the offsets, but for letters, which were kept before."""
        places = Counter(version.rows.select(PARTITION, OFFSET).rows())
        assert not [p for p, times in places.items() if times > 1], "an event is in the changelog once"
        below = {e.place for e in self._events.values() if e.offset < version.offsets.get(e.partition, 0)}
        assert places.keys() <= below, "the changelog holds nothing beyond its offsets"
        assert below - places.keys() <= self._kept, "a letter is kept before the offsets pass it"
        before = self._appended | self._put_in
        assert before <= places.keys(), "no row leaves the changelog"
        (self._appended if self._moved("changelog", version) else self._put_in).update(places.keys() - before)

    def current(self, version: Version) -> None:
        """The last of each key's rows below the offsets; of those that were put in by a replay perhaps."""
        self._moved("current", version)
        found = {key: (p, o) for key, p, o in version.rows.select(KEY, PARTITION, OFFSET).iter_rows()}
        assert len(found) == version.rows.height, "the current table has one row a key"
        if self._unaware(version):
            return
        appended = _by_key(self._below(self._appended, version.offsets))
        put_in = _by_key(self._below(self._put_in, version.offsets))
        for key in appended.keys() | put_in.keys() | found.keys():
            rank = self._rank(appended.get(key, []), put_in.get(key, []), found.get(key))
            assert rank is not None, f"version {version.number} has the last row of {key} below its offsets"
            assert rank >= self._ranks.get(key, -1), f"the current state goes back: {key}"
            self._ranks[key] = rank

    def _unaware(self, version: Version) -> bool:
        """Whether the version has events from after the topic grew, and nobody who knew of it had been there:
        it goes by offsets until then."""
        known = max(self._world.made_with, *(partition + 1 for partition in (-1, *version.offsets)))
        return any(event.partitions > known for event in self._below(set(self._events), version.offsets))

    def _rank(self, appended: list[Delivered], put_in: list[Delivered], found: Place | None) -> int | None:
        """The place in the source's order of what a version says about a key; None if it may not say so."""
        usual = _newest(appended)
        possible = [usual, *(each for each in put_in if _newest([*appended, each]) is each)]
        ranks = []
        for event in possible:
            gone = event is None or event.operation == DELETE
            if (gone and found is None) or (event and found and self._same(event, found)):
                ranks.append(-1 if event is None else event.at)
        return max(ranks, default=None)

    def _same(self, event: Delivered, found: Place) -> bool:
        """The same event, be it sent again."""
        there = self._events[found]
        return (there.key, there.at) == (event.key, event.at)

    def _below(self, places: set[Place], offsets: Offsets) -> list[Delivered]:
        return [self._events[p] for p in places - self._resent if p[1] < offsets.get(p[0], 0)]

    def _moved(self, name: str, version: Version) -> bool:
        """Whether the commit moved offsets; its ranges join up with those before, and its rows add up."""
        if RANGES not in version.info:
            return False
        counts = orjson.loads(version.info["cdc.rows"])
        assert counts["in"] >= sum(counts["applied"].values()) + counts["dead"], "rows in are accounted for"
        self._counted[f"{name} in"] += counts["in"]
        self._counted[f"{name} dead"] += counts["dead"]
        covered = self._covered[name]
        for partition, held in parse(version.info[RANGES]).items():
            assert held.start == covered.get(partition, 0), "commits join up without gap or overlap"
            covered[partition] = held.end
        return True

    def end(self) -> None:
        delivered, appended = len(self._events), len(self._appended)
        assert self._counted["changelog in"] == delivered, "every event went into one commit"
        assert self._counted["changelog dead"] == delivered - appended, "every letter is counted once"
        merged = self._counted["current in"]
        assert appended <= merged <= appended + len(self._put_in), "every row went into one merge"
        once = Counter((self._events[p].key, self._events[p].at) for p in self._appended - self._resent)
        assert not [event for event, times in once.items() if times > 1], "what was sent again is marked"


def _newest(rows: list[Delivered]) -> Delivered | None:
    return next(iter(_last(rows).values()), None)


def _by_key(rows: list[Delivered]) -> dict[str, list[Delivered]]:
    found: dict[str, list[Delivered]] = {}
    for event in rows:
        found.setdefault(event.key, []).append(event)
    return found


def documents(rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Any]]:
    """Metadata and document of each row; a column that is null is a field that is missing, at every level."""
    fields = [name for name in rows.columns if name not in METADATA]
    metadata = rows.select(KEY, OPERATION, PARTITION, OFFSET).to_dicts()
    images = rows.select(fields).to_dicts() if fields else [{} for _ in metadata]
    for known, image in zip(metadata, images, strict=True):
        yield known, _plain(_together(image))


def _together(value: Any) -> Any:
    """A document with what did not fit its columns back in its place."""
    if isinstance(value, list):
        return [_together(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, inner in value.items():
        if inner is None:
            continue
        if name == OTHERS:
            found |= json_util.loads(inner)
        elif name.endswith(JSON_SUFFIX):
            found[name.removesuffix(JSON_SUFFIX)] = json_util.loads(inner)
        else:
            found[name] = _together(inner)
    return found


def _plain(doc: Any) -> str:
    """As text, so that true is not 1; but 2.0 is 2, as a column of doubles has it."""

    def plain(value: Any) -> Any:
        match value:
            case bool() | None | str():
                return value
            case float() if value.is_integer():
                return int(value)
            case int() | float():
                return value
            case list():
                return [plain(each) for each in value]
            case {"$oid": text}:
                return text
            case dict():
                return {name: plain(each) for name, each in value.items()}
            case _:
                return str(value)

    return orjson.dumps(plain(doc), option=orjson.OPT_SORT_KEYS).decode()


def _offsets(shared: Shared, name: str) -> dict[int, int]:
    offsets = shared.tables[name].open(shared.world.stream).offsets
    return {partition: end for partition, end in offsets.items() if end}


def _rows(shared: Shared, name: str) -> pl.DataFrame:
    table: LakeTable = shared.tables[name]
    return table.read(table.open(shared.world.stream)).collect()


def _letters(shared: Shared) -> list[Any]:
    return list(read_letters(shared.tables["letters"], shared.world.stream))
