"""What to do about a connector's failure, for those that are known by the words in their trace.

Invariant: a remedy is told only for words that mean one thing. For all others the cause itself is what helps.
"""

from __future__ import annotations

from typing import Final

from cdc_platform.core.sizes import MAX_DOCUMENT_BYTES, MAX_RECORD_BYTES

_MIB: Final = 2**20

_PAST_IT: Final = (
    "the stream cannot pass that change: make the document smaller or delete it, read everything anew with "
    "cdc connector snapshot, and remove with cdc reconcile what was deleted meanwhile"
)

_KNOWN: Final = (
    (
        "value of the max.request.size configuration",
        f"a change is larger as text than a record of {MAX_RECORD_BYTES // _MIB} MB, as a document of "
        f"control characters may be; {_PAST_IT}",
    ),
    (
        "larger than the max message size the server will accept",
        f"the topic takes smaller records than the connector writes: give it max.message.bytes="
        f"{MAX_RECORD_BYTES} (kafka-configs --alter --entity-type topics --entity-name TOPIC --add-config "
        f"…), then restart the connector",
    ),
    (
        "BSONObjectTooLarge",
        f"MongoDB sends no event over {MAX_DOCUMENT_BYTES // _MIB} MB, and this one is, even without the "
        f"document before the change: its _id must be very large; {_PAST_IT}",
    ),
    (
        "java.lang.OutOfMemoryError",
        "the worker holds up to capture.batch_size events at once, whatever their size: lower it in the "
        "source (4 for documents of 16 MB) and apply the connector, or give the worker more heap "
        "(CDC_CONNECT_HEAP_MB of the local stack)",
    ),
)

_UNKNOWN: Final = "remove the cause, then restart the connector; the worker's log has the whole trace"


def remedy(trace: str) -> str:
    """For a Java stack trace, or the last lines of a worker's log."""
    return next((told for words, told in _KNOWN if words in trace), _UNKNOWN)
