"""The truth of a source's tables, by its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cdc_platform.core.source import Source
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.mongodb import MongoTruth, connect

Truths = Callable[[str], Truth]
"""The truth of a table; whoever asks for one closes it."""


@contextmanager
def truths(source: Source) -> Iterator[Truths]:
    """Nothing is connected to before a truth is asked."""
    with connect(source.uri) as client:
        yield lambda table: MongoTruth(client, source.database, table)
