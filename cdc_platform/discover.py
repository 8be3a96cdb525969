"""Collections that a source's globs take, found as they appear.

Invariants
- What is found is kept in a file, so that definitions load without touching the network; losing the file
  costs one look.
- A collection counts as found only when everything it needs is there: the database keeps what is before and
  after each change (``connect.prepare``), and its topic has the declared partitions. So nothing has to be
  done by hand, and nothing is done twice. The connector needs no change: its filter is the glob.
- One collection's trouble is its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.collections import identities
from cdc_platform.connect.deploy import take_up
from cdc_platform.connect.prepare import prepare
from cdc_platform.core.errors import CdcError, Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog

_KEPT = TypeAdapter(list[str])


@dataclass(frozen=True, slots=True)
class Found:
    """``source``: with all collections found so far. ``fresh``: those found just now. ``refused``: those that
    could not be prepared, and why. ``strange``: names that no topic can have.
    """

    source: Source
    fresh: tuple[str, ...] = ()
    refused: Mapping[str, CdcError] = field(default_factory=dict)
    strange: tuple[str, ...] = ()


def with_found(settings: Settings, source: Source) -> Source:
    """The source with the collections found so far."""
    return source.with_collections(_read(_path(settings, source))) if source.globs else source


def discover(settings: Settings, source: Source, log: KafkaLog) -> Found:
    """Look for new collections and prepare them. Raises Transient if the database does not list them."""
    known = with_found(settings, source)
    if not source.globs:
        return Found(known)
    there = identities(source)
    fresh, refused = [], {}
    for name in known.with_collections(there).collections[len(known.collections) :]:
        try:
            _require_own_topic(known, name)
            prepare(known, only=(name,))
            log.create({source.topic(name): source.partitions})
            fresh.append(name)
        except CdcError as error:
            refused[name] = error
    grown = known.with_collections(fresh)
    if fresh:
        try:
            with ConnectClient(settings.connect_url, attempts=3) as client:
                take_up(grown, fresh, client, uuid.uuid4().hex)
        except Terminal as error:  # captured all the same; what was there before needs a person
            refused[fresh[0]] = error
        _write(_path(settings, source), [name for name in grown.collections if source.takes(name)])
    strange = sorted(name for name in there if source.nearly_takes(name))
    return Found(grown, tuple(fresh), refused, tuple(strange))


def _require_own_topic(source: Source, name: str) -> None:
    """Kafka makes no topic whose name differs from another's in '.' and '_' alone."""
    topic = source.topic(name).replace(".", "_")
    alike = [each for each in source.collections if source.topic(each).replace(".", "_") == topic]
    if alike:
        raise CdcError(
            f"collection {name} cannot have a topic of its own: Kafka takes its name for that of {alike[0]}",
            where=f"source {source.name}",
            remedy="rename one of the two collections",
        )


def _path(settings: Settings, source: Source) -> Path:
    return settings.state_dir.absolute() / "discovered" / f"{source.name}.json"


def _read(path: Path) -> list[str]:
    try:
        return _KEPT.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return []


def _write(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(_KEPT.dump_json(names))
    draft.replace(path)
