"""The stream that a table was filled from, as the table itself tells it: who only reads needs no Kafka."""

from __future__ import annotations

from cdc_platform.core.errors import StreamReplaced
from cdc_platform.core.offsets import Offsets, Stream


def stream_of(identity: str, partitions: int) -> Stream:
    """The inverse of ``Stream.identity``. Neither a cluster's id nor a topic's has a slash in it."""
    cluster_id, _, rest = identity.partition("/")
    topic, _, topic_id = rest.rpartition("/")
    return Stream(cluster_id, topic, topic_id, partitions)


def replaced(filled: Stream | None, now: Stream, offsets: Offsets, *, where: str) -> StreamReplaced:
    """What to say of a table that another stream than ``now`` has filled up to these offsets."""
    if filled is None:
        what = f"the table does not say which topic filled it; the topic is {now.topic} ({now.topic_id})"
    elif filled.topic != now.topic:
        what = f"the table is of topic {filled.topic}, not of {now.topic}"
    else:
        other = "its topic was deleted and made again"
        if filled.cluster_id != now.cluster_id:
            other = f"its topic is in another Kafka cluster now ({now.cluster_id}, not {filled.cluster_id})"
        upto = " ".join(f"{p}:{offset}" for p, offset in sorted(offsets.items())) or "nowhere"
        what = (
            f"{other}: the table has the records of the former one ({filled.topic_id}) up to offsets {upto}, "
            f"and none of the one that is there now ({now.topic_id}), from its offset 0 on"
        )
    return StreamReplaced(
        what,
        where=where,
        remedy="to take this topic from now on, with the rows that the source has: cdc rebuild TABLE --from "
        "source",
    )
