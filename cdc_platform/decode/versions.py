"""Versions of a table's schema, as its events bring them.

Invariant: whether a new version is taken depends on the versions known and the policy alone. One that is
known already comes again freely, as partitions are read at different speeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cdc_platform.core.row_schema import Compatibility, RowSchema, changes, violations


@dataclass(frozen=True, slots=True)
class Versions:
    """What a table's history says. ``known``: oldest first."""

    policy: Compatibility = Compatibility.NONE
    known: tuple[RowSchema, ...] = ()


ANY: Final = Versions()
"""Nothing is known yet, and everything is taken."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that is new, and its first event. ``changes``: from the one before, in words."""

    schema: RowSchema
    partition: int
    offset: int
    changes: tuple[str, ...]


@dataclass(slots=True)
class Gate:
    """Takes or refuses versions in the order in which they come."""

    versions: Versions
    taken: list[Seen] = field(default_factory=list)
    refused: list[Seen] = field(default_factory=list)

    def violations(self, schema: RowSchema, partition: int, offset: int) -> tuple[str, ...]:
        """Why a version is refused; empty if it is taken."""
        known = [*self.versions.known, *(each.schema for each in self.taken)]
        if any(each.fingerprint == schema.fingerprint for each in known):
            return ()
        if not known:
            self.taken.append(Seen(schema, partition, offset, ("first seen",)))
            return ()
        found = violations(known[-1], schema, self.versions.policy)
        seen = Seen(schema, partition, offset, changes(known[-1], schema) or ("columns in another order",))
        (self.refused if found else self.taken).append(seen)
        return found
