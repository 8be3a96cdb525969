"""What the asset graph says of a source: its assets, in the order that a change passes through them.

Invariant: who has only the graph can tell what each asset is, who owns it, and what moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import dagster as dg

from cdc_platform.core.columns import METADATA
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.position import Engine
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import FORMAT_TAG, LAYER_TAG, SOURCE_TAG, source_key, target_key, topic_key
from cdc_platform.orchestrate.record import storage_metadata
from cdc_platform.platform import lake_table

_KINDS: Final[Mapping[str, set[str]]] = {
    "topic": {"kafka", "debezium"},
    Format.DELTA: {"deltalake"},
    Format.ICEBERG: {"iceberg"},
}


def upstream_specs(source: Source, name: str) -> list[dg.AssetSpec]:
    """The collection and its topic: what the lake tables are made from. Dagster does not materialize them."""
    collection, topic = source_key(source, name), topic_key(source, name)
    noun = "collection" if source.engine is Engine.MONGODB else "table"
    return [
        dg.AssetSpec(
            collection,
            description=f"The {noun} `{source.table(name)}` of {source.engine.called}. Its "
            f"applications write it; the connector `{source.connector}` reads its changes.",
            group_name=source.name,
            kinds={source.engine.value},
            owners=source.owners,
            tags=_tags(source, "source"),
            metadata={"cdc/database": source.database, "cdc/collection": name},
        ),
        dg.AssetSpec(
            topic,
            deps=[collection],
            description=f"Every change of `{source.table(name)}` as an event in the Kafka topic "
            f"`{source.topic(name)}`, written by Debezium. Observed by the sensor `drain_{source.name}`: how "
            f"many offsets the lake lacks.",
            group_name=source.name,
            kinds=_KINDS["topic"],
            owners=source.owners,
            tags=_tags(source, "topic"),
            metadata={"cdc/topic": source.topic(name), "cdc/partitions": source.partitions},
        ),
    ]


def lake_specs(source: Source, settings: Settings, target: Target) -> list[dg.AssetSpec]:
    """The changelog and, of a table that has a key, the current state."""
    limits, name = source.limits, target.table
    specs = [
        _lake_spec(
            source,
            settings,
            target,
            Kind.CHANGELOG,
            deps=topic_key(source, name),
            description=f"Every change of `{source.table(name)}`: one row an event, only ever appended, "
            f"each with its Kafka offset and its source's position. Committed about every "
            f"{limits.changelog_age:g} s by the run that `drain_{source.name}` keeps alive, rows and offsets "
            f"together.",
        ),
        _lake_spec(
            source,
            settings,
            target,
            Kind.CURRENT,
            deps=target_key(source, target, Kind.CHANGELOG),
            description=f"`{source.table(name)}` as it is now: one row a key, deletes applied. "
            f"Merged from the changelog about every {limits.current_age:g} s, and from it alone. Its checks "
            f"prove it against the source, at one position.",
        ),
    ]
    return specs[: len(source.lake_kinds(name))]


def _lake_spec(
    source: Source, settings: Settings, target: Target, kind: Kind, *, deps: dg.AssetKey, description: str
) -> dg.AssetSpec:
    key = target_key(source, target, kind)
    folders = source.partitioned_by(target.table, kind)
    uri = lake_table(settings, source, target.table, kind, target.format).uri
    return dg.AssetSpec(
        key,
        deps=[deps],
        description=description,
        group_name=source.name,
        kinds=_KINDS[target.format],
        owners=source.owners,
        tags=_tags(source, kind.value) | {FORMAT_TAG: target.format.value},
        metadata=storage_metadata(uri, key)
        | {"cdc/metadata_columns": dg.MetadataValue.text(", ".join(METADATA))}
        | ({"cdc/partitioned_by": dg.MetadataValue.text(", ".join(folders))} if folders else {}),
        skippable=True,
    )


def _tags(source: Source, layer: str) -> dict[str, str]:
    """The graph can be filtered by them: ``tag:"cdc/layer"=current``."""
    return {SOURCE_TAG: source.name, LAYER_TAG: layer}
