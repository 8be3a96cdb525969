"""Names of the assets of a source, and of the tags its runs carry.

``[mongodb, <source>, <collection>]`` → ``[kafka, <source>, <collection>]`` →
``[delta, <source>, <collection>_changes]`` → ``[delta, <source>, <collection>]``.
"""

from __future__ import annotations

import dagster as dg

from cdc_platform.core.model import Kind
from cdc_platform.core.source import Source

SOURCE_TAG = "cdc/source"
"""On everything of a source: its assets, its jobs, the runs of its jobs and of its sensor."""

LAYER_TAG = "cdc/layer"
"""On every asset: source, topic, changelog or current."""

MODE_TAG = "cdc/mode"
"""``stay`` on the runs that the sensor starts."""

ALSO_TAG = "cdc/also"
"""Tables a staying run drains that the definitions had not when it was asked for: they were just found."""

FAILED_TAG = "cdc/failed"
"""Tables that failed in a run, and when: ``orders@2026-11-21T07:11:16+00:00,customers@…``."""


def source_key(source: Source, collection: str) -> dg.AssetKey:
    return dg.AssetKey([source.engine, source.name, collection])


def topic_key(source: Source, collection: str) -> dg.AssetKey:
    return dg.AssetKey(["kafka", source.name, collection])


def lake_key(source: Source, collection: str, kind: Kind) -> dg.AssetKey:
    name = f"{collection}_changes" if kind is Kind.CHANGELOG else collection
    return dg.AssetKey(["delta", source.name, name])
