"""Kafka → lake: ``replicate()`` one table once, ``Drain`` many tables until caught up, idle or out of
time.
"""

from cdc_platform.replicate.appending import append_changes
from cdc_platform.replicate.batch import Batch
from cdc_platform.replicate.drain import Drain, Failure, Outcome
from cdc_platform.replicate.feed import Until
from cdc_platform.replicate.merging import merge_changes
from cdc_platform.replicate.once import replicate
from cdc_platform.replicate.replica import Replica

__all__ = [
    "Batch",
    "Drain",
    "Failure",
    "Outcome",
    "Replica",
    "Until",
    "append_changes",
    "merge_changes",
    "replicate",
]
