"""One source table on its way into the lake: its stream, its lake tables, and how patient its writers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from cdc_platform.core.errors import Conflict, SchemaRefused, Transient
from cdc_platform.core.model import Format, Handle, Kind, Limits, Policy, Target
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable, Probe, no_probe
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.core.schema import compare
from cdc_platform.decode.decoded import Decoder, Rules
from cdc_platform.decode.mongodb import decode
from cdc_platform.decode.versions import Versions
from cdc_platform.replicate.schema_history import SchemaHistory
from cdc_platform.replicate.truncation import Truncations

ATTEMPTS: Final = 10
CONFLICT_SECONDS: Final = 60.0
"""How long a writer tries to get past others that commit all the time, and ATTEMPTS times at least."""


def spent(state: RetryCallState) -> bool:
    """Whether an attempt that failed was the last one.

    A conflict is no failure of anything: another writer got on. So time counts as well: short commits may be
    refused many times in a second, and long ones come through once they are reserved (``lake.reserving``).
    """
    if state.attempt_number < ATTEMPTS:
        return False
    conflict = state.outcome is not None and isinstance(state.outcome.exception(), Conflict)
    return not conflict or (state.seconds_since_start or 0) >= CONFLICT_SECONDS


@dataclass(frozen=True, slots=True)
class Replica:
    """One source table, its two lake tables and its dead letters, all in one format.

    ``now``: the wall clock, in UTC. ``declared``: columns that the changelog has from the beginning.
    ``kinds``: which of the tables to write. ``values``: what becomes of a value that does not fit.
    ``decode``: reads the source's records. ``compatibility``: which changes of the source's schema are taken.
    ``history``: of that schema. ``renamed``: columns that go on by another name. ``truncations``: those met
    so far.
    """

    name: str
    stream: Stream
    changelog: LakeTable
    current: LakeTable
    letters: LakeTable
    now: Callable[[], datetime]
    limits: Limits = field(default_factory=Limits)
    values: Policy = Policy.JSON
    declared: pl.Schema = field(default_factory=pl.Schema)
    kinds: frozenset[Kind] = frozenset(Kind)
    format: Format = Format.DELTA
    probe: Probe = no_probe
    decode: Decoder = decode
    compatibility: Compatibility = Compatibility.NONE
    renamed: Mapping[str, str] = field(default_factory=dict)
    history: SchemaHistory = field(default_factory=SchemaHistory, repr=False, compare=False)
    truncations: Truncations = field(default_factory=Truncations, repr=False, compare=False)
    retrying: Retrying = field(
        default_factory=lambda: Retrying(
            stop=spent,
            wait=wait_random_exponential(multiplier=0.05, max=5),
            retry=retry_if_exception_type((Transient, OSError)),  # rows are read when they are collected
            reraise=True,
        )
    )

    def columns(self, changelog: Handle) -> pl.Schema:
        """The changelog's columns with the declared ones, by their logical types. Raises SchemaRefused if it
        has one with another type."""
        evolution, conflicts = compare(changelog.logical, self.declared)
        if conflicts:
            raise SchemaRefused(
                conflicts[0].what.replace("in this batch", "in the source's declaration"),
                where=f"table {self.name}",
                remedy="declare the type that the table has; to take over another: "
                f"cdc rebuild {self.name} --from source",
            )
        return evolution.schema

    @property
    def target(self) -> Target:
        return Target(self.name, self.format)

    @property
    def rules(self) -> Rules:
        known = Versions(self.compatibility, self.history.known(self.stream))
        return Rules(self.values, self.limits.record_bytes, known, self.renamed)
