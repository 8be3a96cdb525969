"""Repairs single rows of a table: its connector reads them again, and what the source has no more is deleted.

Invariants
- Everything goes the ordinary way, through the table's topic: the rows that are read again come as snapshot
  rows and deletes as marked events, each after all that the key had before. Nothing newer is undone by it,
  the changelog tells of it, and a repair that is made twice changes nothing.
- What is deleted was not in the source at a position, with everything that had happened by then in the lake,
  and is deleted only as the row that was found (``replicate.repairs``). That a row did not come when it was
  asked for is no ground.
- The verdict at the end is a proof at a new position.

A changelog that lost or changed rows is not mended: its past is not in the source any more.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Offsets, next_ranges
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.kafka.writer import write
from cdc_platform.operate.catching_up import catch_up
from cdc_platform.operate.rereading import reread
from cdc_platform.platform import holds, subject, table_replicas
from cdc_platform.prove import await_lake, prove_alike
from cdc_platform.reconcile import Damage, Orphans, deletes, find_damage
from cdc_platform.replicate import Replica
from cdc_platform.verify.patience import Patience
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.opening import truths
from cdc_platform.verify.verdict import Kind, Result, Verdict

MOST_KEYS: Final = 5_000
"""Of one repair: each signal reads 500 at most, and they come one after the other."""


class Done(StrEnum):
    """What became of a key."""

    READ = "read again from the source"
    DELETED = "deleted: the source has it no more"
    ABSENT = "neither the source nor the lake has it"
    LEFT = "left: the changelog has no row of it, so only a rebuild removes it"


@dataclass(frozen=True, slots=True)
class Repaired:
    """``keys``: what was done, empty if nothing had to be. ``more``: there are differing keys that were not
    looked into: repair again. ``results``: the proof at the end, of each format."""

    keys: Mapping[str, Done]
    more: bool
    results: Sequence[Result]

    @property
    def verdict(self) -> Verdict:
        """The worst of all formats."""
        verdicts = {each.verdict for each in self.results}
        return next(each for each in (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS) if each in verdicts)


def repair(
    settings: Settings,
    source: Source,
    table: str,
    keys: Sequence[str] = (),
    told: Callable[[str], None] = lambda _: None,
) -> Repaired:
    """Bring these rows of the table, or all that differ, to what the source has. ``keys``: as the lake has
    them in ``_key``. ``told``: hears what is being done.

    Without keys the table is proven first, and nothing is done unless that fails. Raises CdcError where it
    cannot be done: a key that cannot be asked for, a connector that does not run, a source that does not
    answer.
    """
    if (hold := holds(settings, source).held(table)) is not None:
        raise Terminal(
            f"{table} is held back: {hold.reason}",
            where=f"table {table} of source {source.name}",
            remedy=f"let it go on first: cdc resume {table}",
        )
    replicas, log = table_replicas(settings, source, table)
    with truths(source) as truth_of, closing(truth_of(table)) as truth:
        work = _Work(settings, source, table, replicas, log, truth)
        if not keys:
            told(f"proving {table}")
            results = work.proofs()
            if Repaired({}, False, results).verdict is not Verdict.FAIL:
                return Repaired({}, False, results)
        done, more = work.mended(keys, told)
        told(f"proving {table} once more")
        return Repaired(done, more, work.proofs() if done or keys else results)


@dataclass(frozen=True, slots=True)
class _Work:
    """One table in all its formats."""

    settings: Settings
    source: Source
    table: str
    replicas: Sequence[Replica]
    log: KafkaLog
    truth: Truth

    def proofs(self) -> list[Result]:
        return prove_alike(
            self._subjects(),
            marker=uuid.uuid4().hex,
            deadline=self.settings.proof_seconds,
            clock=time.monotonic,
            sleep=time.sleep,
            drains=dict.fromkeys(Format, self._drain),
        )

    def mended(self, keys: Sequence[str], told: Callable[[str], None]) -> tuple[dict[str, Done], bool]:
        """What was done with each key, and whether there are more."""
        found = [self._damage(each) for each in self._subjects()]
        wrong = {key: kind for each in found for key, kind in each.wrong.items()}
        wanted = list(dict.fromkeys(keys)) or sorted(wrong)
        more = len(wanted) > MOST_KEYS or (not keys and any(each.buckets_unlisted for each in found))
        wanted = wanted[:MOST_KEYS]
        chosen = set(wanted)
        places = {key: place for each in found for key, place in each.places.items() if key in chosen}
        extra = {key for key in wanted if wrong.get(key) is Kind.EXTRA}
        asked = [key for key in wanted if key not in extra]
        told(f"rows to read again: {len(asked)}, to delete: {len(places)}")
        came = self._read(asked) if asked else set()
        if places:
            self._delete(Orphans(found[-1].at, places, 0))
        gone = {key: Done.DELETED if key in places else Done.LEFT for key in extra}
        rest = {key: Done.READ if key in came else Done.ABSENT for key in asked}
        return {key: (gone | rest)[key] for key in wanted}, more

    def _read(self, keys: Sequence[str]) -> set[str]:
        """Have the connector read the rows again; the keys of which the changelog has a row since then."""
        since = self.log.ends([each.stream for each in self.replicas[:1]])[self.source.topic(self.table)]
        ends = reread(self.settings, self.source, [self.table], patience=self._patience(), keys=keys)
        barrier = ends.get(self.table, since)
        for each in self._subjects():
            await_lake(each, barrier, self._patience(), self._drain)
        return self._came(self.replicas[0], since, keys)

    def _came(self, replica: Replica, since: Offsets, keys: Sequence[str]) -> set[str]:
        handle = replica.changelog.open(replica.stream)
        rows = (
            replica.changelog.read(handle, next_ranges(since, handle.offsets))
            .select(KEY)
            .filter(pl.col(KEY).is_in(list(keys)))
        )
        return set(rows.unique().collect()[KEY])

    def _delete(self, orphans: Orphans) -> None:
        write(self.settings.kafka_bootstrap, self.source.topic(self.table), deletes(orphans))

    def _damage(self, subject: Subject) -> Damage:
        return find_damage(
            subject,
            marker=uuid.uuid4().hex,
            deadline=self.settings.proof_seconds,
            clock=time.monotonic,
            sleep=time.sleep,
            drain=self._drain,
        )

    def _subjects(self) -> list[Subject]:
        return [subject(self.source, each, self.log, self.truth) for each in self.replicas]

    def _drain(self) -> None:
        catch_up(self.settings, self.source, self.replicas, self.log)

    def _patience(self) -> Patience:
        return Patience(time.monotonic, time.sleep, time.monotonic() + self.settings.proof_seconds)
