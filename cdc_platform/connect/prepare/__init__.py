"""What a database needs before it can be captured.

Invariant: after ``prepare`` every captured table and collection is there, and each of its changes can be read
with the row before and after it, unless the source does without. What is missing is done where the user of
the source may do it; the rest is told with the very statements to run. A table without its images is captured
with empty ones, silently: its updates would look like changes to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from cdc_platform.connect.prepare import binlog, mongodb, postgresql
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source


def prepare(source: Source, *, patience: float = 10.0, only: Sequence[str] | None = None) -> None:
    """Make the database ready for the connector, and check that its changes can be read.

    May be repeated; changes nothing that is already so. ``patience``: seconds to find the server, and for
    each of its answers. ``only``: of all collections of the source, these. Raises Transient if it does not
    answer, Terminal with a remedy for everything that a person has to change.
    """
    names = source.collections if only is None else only
    match source.engine:
        case Engine.MONGODB:
            return mongodb.prepare(source.model_copy(update={"collections": tuple(names)}), patience)
        case Engine.POSTGRESQL:
            return postgresql.prepare(source, patience, names)
        case Engine.MARIADB | Engine.MYSQL:
            return binlog.prepare(source, patience, names)
    assert_never(source.engine)
