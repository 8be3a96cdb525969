"""A table's topic as the checks read it once more."""

from __future__ import annotations

import time
from functools import partial

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.settings import Settings
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.replicate import Replica
from cdc_platform.replicate.hearing import hear
from cdc_platform.verify.topic import Topic


def topic_of(settings: Settings, replica: Replica, log: KafkaLog) -> Topic:
    """Read by the decoder that fills the table. Raises CdcError if Kafka does not answer."""
    stream, letters = replica.stream, replica.letters

    def places() -> pl.LazyFrame | None:
        if not letters.exists():
            return None
        return letters.read(letters.open(stream)).select(PARTITION, OFFSET).unique()

    return Topic(
        stream=stream,
        log=log,
        newest=settings.verify_offsets,
        clock=time.monotonic,
        compacted=log.compacted(stream.topic),
        letters=places,
        key_of=replica.decode.key_of,
        hear=partial(hear, replica),
    )
