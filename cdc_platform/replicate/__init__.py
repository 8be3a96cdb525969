"""Kafka → lake: ``replicate()`` one table once, ``Drain`` many tables until caught up, idle or out of
time.
"""

from cdc_platform.replicate.drain import Drain, Failure, Outcome, Until
from cdc_platform.replicate.steps import Replica, append_changes, merge_changes, replicate

__all__ = [
    "Drain",
    "Failure",
    "Outcome",
    "Replica",
    "Until",
    "append_changes",
    "merge_changes",
    "replicate",
]
