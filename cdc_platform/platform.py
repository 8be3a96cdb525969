"""Puts the pieces together: settings and a declared source become replicas, a log, a connector.

Invariant: building any of this touches no network; the first call that needs a service does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Final, assert_never

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.collections import KnownCollections, identities
from cdc_platform.connect.config import Services, notifications_topic
from cdc_platform.connect.deploy import deploy
from cdc_platform.connect.status import ConnectorStatus
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Contents, Format, Kind, Target
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import Lake, Log, Probe, StoredTable, TableName, no_probe
from cdc_platform.core.position import Engine
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import MARKERS, Source, Wire
from cdc_platform.declarations import declared
from cdc_platform.decode.decoded import Decoder
from cdc_platform.decode.mongodb import MongoDecoder
from cdc_platform.decode.sql import SqlDecoder
from cdc_platform.discover import discover, with_found
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.kafka.registry import SchemaRegistry
from cdc_platform.lake.delta.lake import DeltaLake
from cdc_platform.lake.iceberg.catalog import configured, embedded
from cdc_platform.lake.iceberg.lake import IcebergLake
from cdc_platform.lake.reserving import Reserving
from cdc_platform.lake.store import Place, place_of
from cdc_platform.replicate import Replica
from cdc_platform.replicate.hold import Holds
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.schema_history import SchemaHistory
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.stretch import Place as Placed
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import OpenLetter

_SUFFIXES: Final[Mapping[Contents, str]] = {
    Kind.CURRENT: "",
    Kind.CHANGELOG: "_changes",
    "dead_letters": "_deadletters",
    "schemas": "_schemas",
}
SOURCES = Path(__file__).parent / "defs"


def utc_now() -> datetime:
    return datetime.now(UTC)


def lake_of(settings: Settings, stored: Format) -> Lake:
    """All tables of one format."""
    root = lake_place(settings)
    match stored:
        case Format.DELTA:
            return DeltaLake(root)
        case Format.ICEBERG:
            name, beside = settings.iceberg_catalog, state_beside(settings)
            opened = partial(configured, name, root) if name else partial(embedded, root, beside)
            return IcebergLake(opened, utc_now, name or str(root / "iceberg"))
    assert_never(stored)


def lake_place(settings: Settings) -> Place:
    """The lake's root. Raises Terminal for an address that is neither a folder nor in S3."""
    return place_of(settings.lake_root)


def state_beside(settings: Settings) -> Path:
    """A local folder for what goes with the lake: its own root, or the state folder if the lake is in S3."""
    root = lake_place(settings)
    return root if isinstance(root, Path) else settings.state_dir.absolute()


def log_of(settings: Settings) -> KafkaLog:
    """Kafka, as the settings say."""
    return KafkaLog(settings.kafka_bootstrap, timeout=settings.kafka_seconds)


def table_name(source: Source, collection: str, contents: Contents) -> TableName:
    """``<collection>`` for the current state; for the others with what they hold after it."""
    return source.name, f"{collection}{_SUFFIXES[contents]}"


def lake_table(
    settings: Settings, source: Source, collection: str, kind: Kind, stored: Format = Format.DELTA
) -> StoredTable:
    """The changelog or the current state of a collection, in one format."""
    name = table_name(source, collection, kind)
    return lake_of(settings, stored).table(name, kind, source.partitioned_by(collection, kind), source.engine)


def letters_table(
    settings: Settings, source: Source, collection: str, stored: Format = Format.DELTA
) -> StoredTable:
    """Beside the lake tables; made with the first letter."""
    name = table_name(source, collection, "dead_letters")
    return lake_of(settings, stored).table(name, "dead_letters")


def schemas_table(
    settings: Settings, source: Source, collection: str, stored: Format = Format.DELTA
) -> StoredTable:
    """Beside the lake tables; made with the first batch."""
    name = table_name(source, collection, "schemas")
    return lake_of(settings, stored).table(name, "schemas")


def replica(
    settings: Settings,
    source: Source,
    collection: str,
    stream: Stream,
    kinds: frozenset[Kind] = frozenset(Kind),
    stored: Format = Format.DELTA,
) -> Replica:
    return Replica(
        name=collection,
        stream=stream,
        changelog=Reserving(lake_table(settings, source, collection, Kind.CHANGELOG, stored)),
        current=Reserving(lake_table(settings, source, collection, Kind.CURRENT, stored)),
        letters=Reserving(letters_table(settings, source, collection, stored)),
        format=stored,
        now=utc_now,
        limits=source.limits,
        values=source.values,
        declared=source.declared(collection),
        kinds=kinds & source.kinds_of(collection),
        probe=crash_probe(),
        decode=decoder(source.engine, settings.registry_url if _in_registry(source) else ""),
        compatibility=source.compatibility_of(collection),
        renamed=source.renamed.get(collection, {}),
        history=SchemaHistory(schemas_table(settings, source, collection, stored)),
    )


def _in_registry(source: Source) -> bool:
    """Whether the schemas of a source's records may be in a registry: of a table also those of before its
    wire format was changed. Where they cannot be, a stray record is a dead letter, whatever it looks like."""
    return source.engine is not Engine.MONGODB or source.written_as is Wire.AVRO


@cache
def decoder(engine: Engine, registry_url: str) -> Decoder:
    """One a source's engine: it remembers the schemas it has met. ``registry_url``: empty without any."""
    registry = SchemaRegistry(registry_url) if registry_url else None
    return MongoDecoder(registry) if engine is Engine.MONGODB else SqlDecoder(engine, registry)


def replicas(
    settings: Settings, source: Source, log: KafkaLog, wanted: Mapping[str, frozenset[Kind]]
) -> list[Replica]:
    """One per collection and format, writing the kinds wanted; raises Terminal for one whose topic does not
    exist."""
    streams = log.streams([source.topic(name) for name in wanted])
    if missing := [name for name in wanted if source.topic(name) not in streams]:
        raise Terminal(
            f"no topic for {', '.join(missing)}",
            where=f"source {source.name}, Kafka at {settings.kafka_bootstrap}",
            remedy=f"deploy the connector first: cdc connector apply {source.name}",
        )
    return [
        replica(settings, source, name, streams[source.topic(name)], kinds, stored)
        for name, kinds in wanted.items()
        for stored in source.formats_of(name)
    ]


def table_replicas(settings: Settings, source: Source, collection: str) -> tuple[list[Replica], KafkaLog]:
    """One table in its formats, and the log it is filled from; raises Terminal if its topic does not
    exist."""
    log = log_of(settings)
    return replicas(settings, source, log, {collection: frozenset(Kind)}), log


def hold_what_is_gone(settings: Settings, source: Source) -> dict[str, str]:
    """Look at the source's collections: a table whose collection was dropped, renamed or replaced since the
    last look is held back. Returns those, with what happened and what to do. Raises Transient if MongoDB does
    not answer.
    """
    known = KnownCollections(settings.state_dir.absolute() / "collections" / f"{source.name}.json")
    found = identities(source)
    changes = known.changes(source.collections, found)
    for table, what in changes.items():
        holds(settings, source).hold(table, what, utc_now())
    known.keep(source.collections, found)
    return changes


def open_letters(replica: Replica) -> list[OpenLetter]:
    """The table's dead letters that nobody has dealt with, for its proof."""
    letters = read_letters(replica.letters, replica.stream)
    return [OpenLetter(each.partition, each.offset, each.reason) for each in letters]


def subject(source: Source, replica: Replica, log: Log, truth: Truth) -> Subject:
    """What a table's proof compares."""
    return Subject(
        table=replica.name,
        stream=replica.stream,
        truth=truth,
        log=log,
        changelog=replica.changelog,
        current=replica.current,
        markers=source.topic(MARKERS),
        open_letters=lambda: open_letters(replica),
        format=replica.format,
        operation_of=replica.decode.operation_of,
    )


def place(
    settings: Settings, source: Source, collection: str, kind: Kind, stored: Format = Format.DELTA
) -> Placed:
    """A lake table and its past, for the checks that look at the lake alone."""
    table = lake_table(settings, source, collection, kind, stored)
    return Placed(table, lake_of(settings, stored).history(table_name(source, collection, kind)))


def notes(settings: Settings, source: Source, target: Target) -> Notes:
    """What the checks of a table remember, in ``<lake root>/checks/<source>``; of a lake in S3, in the state
    folder."""
    return Notes(state_beside(settings) / "checks" / source.name, target.table, target.format)


def holds(settings: Settings, source: Source) -> Holds:
    """The tables of a source that an operator holds back."""
    return Holds(settings.state_dir.absolute() / "holds" / source.name)


def deploy_source(settings: Settings, source: Source, deadline: float = 60.0) -> ConnectorStatus:
    """Make the topics, then the connector; returns once its task runs. May be repeated.

    The topics exist before the connector does, so that every table has a place in Kafka from the first
    moment, with the declared number of partitions. Collections that the source's globs take are found first.
    """
    log = log_of(settings)
    found = discover(settings, source, log)
    for error in found.refused.values():
        raise error
    source = found.source
    log.create({source.topic(name): source.partitions for name in source.captured})
    log.create({notifications_topic(source): 1})
    with ConnectClient(settings.connect_url) as client:
        return deploy(source, client, deadline, Services.of(settings))


def crash_probe() -> Probe:
    """``CDC_CRASH_AT=<point>`` kills the process with SIGKILL when it gets there, for crash tests."""
    wanted = os.environ.get("CDC_CRASH_AT")
    if not wanted:
        return no_probe

    def probe(point: str) -> None:
        if point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


def load_sources(folder: Path = SOURCES) -> dict[str, Source]:
    """Every source declared in ``defs/*/defs.yaml``, by name, ``{{ env.NAME }}`` filled in, with the
    collections found for its globs.

    Raises Terminal naming the file for YAML that does not parse, fields that are unknown or wrong, and
    variables that are not set.
    """
    found: dict[str, Source] = {}
    for path in sorted(folder.glob("*/defs.yaml")):
        source = declared(path)
        if source.name in found:
            raise Terminal(
                f"two files declare a source {source.name}",
                where=str(path),
                remedy="give one of them another name: it is the prefix of topics and tables",
            )
        found[source.name] = with_found(Settings(), source)
    return found
