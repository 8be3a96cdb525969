"""Names of the assets of a source, and of the tags its runs carry.

``[<engine>, <source>, <collection>]`` → ``[kafka, <source>, <collection>]`` →
``[delta, <source>, <collection>_changes]`` → ``[delta, <source>, <collection>]``, and the same for iceberg.
"""

from __future__ import annotations

import dagster as dg

from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.source import Source
from cdc_platform.platform import table_name

SOURCE_TAG = "cdc/source"
"""On everything of a source: its assets, its jobs, the runs of its jobs and of its sensor."""

LAYER_TAG = "cdc/layer"
"""On every asset: source, topic, changelog or current."""

MODE_TAG = "cdc/mode"
"""``stay`` on the runs that the sensor starts."""

ALSO_TAG = "cdc/also"
"""Tables a staying run drains that the definitions had not when it was asked for: they were just found."""

FORMAT_TAG = "cdc/format"
"""On the assets of the lake: delta or iceberg."""

FAILED_TAG = "cdc/failed"
"""Targets that failed in a run, and when: ``delta/orders@2026-11-21T07:11:16+00:00,iceberg/orders@…``."""


def source_key(source: Source, collection: str) -> dg.AssetKey:
    return dg.AssetKey([source.engine.value, source.name, collection])


def topic_key(source: Source, collection: str) -> dg.AssetKey:
    return dg.AssetKey(["kafka", source.name, collection])


def lake_key(source: Source, collection: str, kind: Kind, stored: Format = Format.DELTA) -> dg.AssetKey:
    return dg.AssetKey([stored.value, *table_name(source, collection, kind)])


def target_keys(source: Source, target: Target) -> list[dg.AssetKey]:
    """Of the lake tables that the target has."""
    return [target_key(source, target, kind) for kind in source.lake_kinds(target.table)]


def checked_key(source: Source, target: Target) -> dg.AssetKey:
    """The asset that a target's checks are shown at: its current state, if it has one."""
    return target_keys(source, target)[-1]


def target_key(source: Source, target: Target, kind: Kind) -> dg.AssetKey:
    return lake_key(source, target.table, kind, target.format)
