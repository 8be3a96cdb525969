"""Up to which time of the source a table is proven, for Dagster to keep and to plot.

``cdc/valid_through``: all rows are proven up to then. ``cdc/checked_through``: all changes that are known of.
``cdc/unproven_seconds``: how long ago the former was: a few seconds right after a proof, more with every
second without one. It is recorded with each materialization and each check of the content, passed or not, so
that the plot rises for as long as nothing is proven, and falls with a proof alone.
"""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from cdc_platform.core.errors import CdcError
from cdc_platform.core.model import Kind, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.proven import proven
from cdc_platform.platform import lake_table
from cdc_platform.verify.notes import Proven

Metadata = dict[str, dg.MetadataValue]


def proven_through(settings: Settings, source: Source, target: Target, now: datetime) -> Metadata:
    """Empty of a table that was never proven, or that cannot be read: its checks say why."""
    try:
        handle, _ = lake_table(settings, source, target.table, Kind.CURRENT, target.format).snapshot()
        note = proven(settings, source, target, handle)
    except CdcError:
        return {}
    return {} if note is None else told(note, now)


def told(note: Proven, now: datetime) -> Metadata:
    through = note.through.source_time
    return {
        "cdc/valid_through": dg.MetadataValue.timestamp(through),
        "cdc/checked_through": dg.MetadataValue.timestamp(note.last.source_time),
        "cdc/unproven_seconds": dg.MetadataValue.float(max(0.0, (now - through).total_seconds())),
    }
