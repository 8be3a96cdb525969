"""The truth of a source's tables, by its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cdc_platform.core.position import Engine
from cdc_platform.core.source import MARKERS, Source
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.mariadb import MariaTruth
from cdc_platform.verify.truth.mongodb import MongoTruth, connect
from cdc_platform.verify.truth.pace import Pace
from cdc_platform.verify.truth.postgresql import PostgresTruth

Truths = Callable[[str], Truth]
"""The truth of a table, by the name that the platform knows it by; whoever asks for one closes it."""


@contextmanager
def truths(source: Source) -> Iterator[Truths]:
    """Nothing is connected to before a truth is asked."""
    pace = Pace(source.verify.rows_per_second)
    if source.engine is Engine.MONGODB:
        reading = source.verify.read_from
        with connect(source.uri) as client:
            yield lambda name: MongoTruth(client, source.database, name, pace, reading)
    else:
        yield lambda name: _of_table(source, name, pace)


def _of_table(source: Source, name: str, pace: Pace) -> Truth:
    table, markers, declared = source.table(name), source.table(MARKERS), source.keys.get(name)
    renamed = source.renamed.get(name, {})
    if source.engine is Engine.POSTGRESQL:
        return PostgresTruth(source.uri, source.database, table, markers, declared, renamed, pace)
    return MariaTruth(source.engine, source.uri, table, markers, declared, renamed, pace)
