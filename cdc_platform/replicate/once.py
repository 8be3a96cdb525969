"""Both lake tables of one source table, brought to where its topic ends now."""

from __future__ import annotations

from cdc_platform.core.model import Receipt, Stopped
from cdc_platform.core.offsets import ends_of, plan, reached
from cdc_platform.core.ports import Log
from cdc_platform.replicate.appending import Carried, append_changes
from cdc_platform.replicate.batch import Batch
from cdc_platform.replicate.merging import merge_changes
from cdc_platform.replicate.replica import Replica


def replicate(replica: Replica, log: Log) -> tuple[Receipt, ...]:
    """Bring both tables to the end the topic has now, in batches, and return what each commit did."""
    receipts = append_all(replica, log)
    while merged := merge_changes(replica):
        receipts.append(merged)
    return tuple(receipts)


def append_all(replica: Replica, log: Log) -> list[Receipt]:
    """Bring the changelog there."""
    starts = replica.changelog.open(replica.stream).offsets
    available = log.available([replica.stream])[replica.stream.topic]
    ends = ends_of(plan(replica.stream, starts, available))
    receipts: list[Receipt] = []
    reader = log.reader({replica.stream: starts})
    try:
        carried: Carried | None = None
        position = dict(starts)
        while not reached(position, ends):
            for batch in reader.poll(1.0, replica.limits.batch_rows):
                if isinstance(batch, Stopped):
                    raise batch.error
                appended = append_changes(replica, Batch(batch), carried)
                if appended.refused:
                    raise appended.refused
                carried = appended.carried
                position |= ends_of(batch.ranges)
                receipts += [appended.receipt] if appended.receipt else []
    finally:
        reader.close()
    return receipts
