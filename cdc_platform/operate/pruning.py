"""Old versions of schemas, removed from the registry.

Invariant: no version goes that a record needs which is still there: one that Kafka retains, or that a dead
letter holds; nor the newest of its subject, which the connector writes with. The topics are read to their
ends for that, so it takes as long as reading them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Stopped
from cdc_platform.core.offsets import Stream, reached
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.decode.avro import schema_ids
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.kafka.registry import SchemaRegistry
from cdc_platform.platform import letters_table, log_of
from cdc_platform.replicate.letters import read_letters

SILENCE = 60
"""Seconds without a record after which reading a topic is given up."""

PARTS = ("key", "value")


@dataclass(frozen=True, slots=True)
class Old:
    """A version that nothing needs any more."""

    subject: str
    version: int
    schema_id: int


def old_versions(
    settings: Settings, source: Source, told: Callable[[str], None] = lambda _: None
) -> list[Old]:
    """Of all topics of the source. ``told``: hears which topic is read. Raises Transient if a service does
    not answer."""
    registry, log = SchemaRegistry(settings.registry_url), log_of(settings)
    streams = log.streams([source.topic(name) for name in source.captured])
    found = []
    for name in source.captured:
        topic = source.topic(name)
        known = {part: registry.versions(f"{topic}-{part}") for part in PARTS}
        if topic not in streams or all(len(versions) < 2 for versions in known.values()):
            continue
        told(f"reading {topic}")
        needed = _in_topic(log, streams[topic]) | _in_letters(settings, source, name, streams[topic])
        for part, versions in known.items():
            found += _unneeded(f"{topic}-{part}", versions, needed)
    return found


def prune(settings: Settings, old: Iterable[Old]) -> None:
    """Remove them. May be repeated."""
    registry = SchemaRegistry(settings.registry_url)
    for each in old:
        registry.remove(each.subject, each.version)


def _unneeded(subject: str, versions: Mapping[int, int], needed: set[int]) -> list[Old]:
    newest = max(versions, default=0)
    return [
        Old(subject, version, schema_id)
        for version, schema_id in sorted(versions.items())
        if version != newest and schema_id not in needed
    ]


def _in_topic(log: KafkaLog, stream: Stream) -> set[int]:
    """Ids of the schemas of all records that Kafka has."""
    held = log.available([stream])[stream.topic]
    position = {partition: there.start for partition, there in held.items()}
    ends = {partition: there.end for partition, there in held.items()}
    found: set[int] = set()
    silent = 0
    reader = log.reader({stream: dict(position)})
    try:
        while not reached(position, ends):
            batches = reader.poll(1.0, 50_000)
            silent = 0 if batches else silent + 1
            if silent > SILENCE:
                raise Transient(
                    f"Kafka sent no record for {SILENCE} s",
                    where=f"topic {stream.topic}, offsets {position}",
                    remedy="check that the brokers run, then prune again; nothing was removed",
                )
            for batch in batches:
                if isinstance(batch, Stopped):
                    raise batch.error
                position |= {p: covered.end for p, covered in batch.ranges.items()}
                found |= _ids(batch.frame["key"]) | _ids(batch.frame["value"])
    finally:
        reader.close()
    return found


def _in_letters(settings: Settings, source: Source, name: str, stream: Stream) -> set[int]:
    """Of dead letters, in any state: they may be replayed."""
    letters = [
        letter
        for stored in source.formats_of(name)
        for letter in read_letters(letters_table(settings, source, name, stored), stream, None)
    ]
    return {
        schema_id
        for part in PARTS
        for schema_id in _ids(pl.Series([getattr(each, part) for each in letters], dtype=pl.Binary))
    }


def _ids(values: pl.Series) -> set[int]:
    return set(schema_ids(values).drop_nulls().unique().to_list())
