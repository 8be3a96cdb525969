"""Which of the lakes can be reached: one that cannot holds back its own tables alone."""

from __future__ import annotations

from collections.abc import Mapping

from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Format
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.dependency import dependency
from cdc_platform.platform import lake_of


class Lakes:
    """Asked at each tick; one that is down is asked again only after a while (``dependency``)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self, source: Source) -> Mapping[Format, str]:
        """The formats of the source whose tables cannot be reached, and why."""
        down = {}
        for stored in dict.fromkeys(target.format for target in source.targets):
            lake = lake_of(self._settings, stored)
            guard = dependency(self._settings, f"The {stored} lake", lake.address)
            try:
                guard.call(lake.require)
            except CdcError as error:
                down[stored] = str(error)
        return down
