"""What the sensor asks the source itself: which collections are new, and which are gone.

Invariant: a source that does not answer holds no table back. What is in Kafka is drained; the tick says that
nobody looks at the collections meanwhile, and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.core.errors import CdcError
from cdc_platform.core.masking import masked
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.discover import Found, discover, with_found
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.orchestrate.dependency import dependency
from cdc_platform.platform import hold_what_is_gone


@dataclass(frozen=True, slots=True)
class Look:
    """``source``: with all collections found so far. ``fresh``: whether any was found by this very look.
    ``notes``: what somebody should know.
    """

    source: Source
    fresh: bool = False
    notes: tuple[str, ...] = ()


class Watch:
    """Looks at the collections of one source."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._database = dependency(settings, source.engine.called, masked(source.uri))

    def look(self, log: KafkaLog, *, at_all: bool) -> Look:
        """New collections at each look; those that are gone if ``at_all``: they are in no hurry."""
        try:
            found = self._discover(log)
            if at_all:
                self._database.call(lambda: hold_what_is_gone(self._settings, found.source))
        except CdcError as error:
            known = with_found(self._settings, self._source)
            return Look(known, notes=(f"nobody looks at the source's collections: {error}",))
        return Look(found.source, bool(found.fresh), _notes(found))

    def _discover(self, log: KafkaLog) -> Found:
        if not self._source.globs:
            return Found(self._source)
        return self._database.call(lambda: discover(self._settings, self._source, log))


def _notes(found: Found) -> tuple[str, ...]:
    notes = [f"collection {name} is new and captured from now on" for name in found.fresh]
    notes += [
        f"collection {name} is new and cannot be captured: {why}" for name, why in found.refused.items()
    ]
    notes += [
        f"collection {name!r} is not captured: no topic can have its name; rename it, in letters, digits, "
        f"'.', '_' and '-'"
        for name in found.strange
    ]
    return tuple(notes)
