"""The stream that a table was filled from, as the table itself tells it: who only reads needs no Kafka."""

from __future__ import annotations

from cdc_platform.core.offsets import Stream


def stream_of(identity: str, partitions: int) -> Stream:
    """The inverse of ``Stream.identity``. Neither a cluster's id nor a topic's has a slash in it."""
    cluster_id, _, rest = identity.partition("/")
    topic, _, topic_id = rest.rpartition("/")
    return Stream(cluster_id, topic, topic_id, partitions)
