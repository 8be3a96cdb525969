"""Reconciles one table with its source: finds the rows that the source has no more, and has them deleted.

Invariant: the deletes are written once each time they are found; a table that is reconciled again before they
have arrived gets them twice, which changes nothing (``replicate.repairs``).
"""

from __future__ import annotations

import time
import uuid
from contextlib import closing

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.writer import write
from cdc_platform.operate.catching_up import catch_up
from cdc_platform.platform import subject, table_replicas
from cdc_platform.reconcile import Orphans, deletes, find_orphans, together
from cdc_platform.verify.truth.opening import truths


def reconcile(settings: Settings, source: Source, table: str, *, dry_run: bool = False) -> Orphans:
    """What was found, and, unless it is a ``dry_run``, deleted: the lake has it when this returns, if no
    staying run drains the source, otherwise within that run's next commits. Raises CdcError.
    """
    replicas, log = table_replicas(settings, source, table)

    def drain() -> None:
        catch_up(settings, source, replicas, log)

    with truths(source) as truth_of, closing(truth_of(table)) as truth:
        orphans = together(
            [
                find_orphans(
                    subject(source, replica, log, truth),
                    marker=uuid.uuid4().hex,
                    deadline=settings.proof_seconds,
                    clock=time.monotonic,
                    sleep=time.sleep,
                    drain=drain,
                )
                for replica in replicas
            ]
        )
    if orphans.rows and not dry_run:
        write(settings.kafka_bootstrap, source.topic(table), deletes(orphans))
        drain()
    return orphans
