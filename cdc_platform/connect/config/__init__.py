"""The Debezium connector of a source, as Kafka Connect takes it. Pure.

Invariants
- Names come from ``Source``, so that the connector writes to the topics that are read.
- Settings that correctness rests on cannot be tuned: exactly-once is required, nothing is skipped or
  tolerated, and a change is one record (no tombstones). Without them a crash repeats rows or a bad event
  vanishes.
- Nothing is given that Debezium 3.4 would take by default today and might change tomorrow, if rows depend
  on it.
"""

from __future__ import annotations

from typing import assert_never

from cdc_platform.connect.config import binlog, mongodb, postgresql
from cdc_platform.connect.config.delivery import (
    delivery,
    notifications_topic,
    notifying,
    service_topics,
    topics,
)
from cdc_platform.connect.config.wire import Services, converters
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

__all__ = ["Services", "connector_config", "notifications_topic", "notifying", "service_topics"]


def connector_config(source: Source, services: Services | None = None) -> dict[str, str]:
    """Connect's settings for ``source``; their meaning is Debezium 3.4's. Holds the source's credentials.

    ``services``: what the connector reaches beside the database; by default the local stack's.
    """
    around = services or Services()
    return {
        "tasks.max": "1",
        "topic.prefix": source.name,
        **_of_engine(source, around),
        **delivery(source),
        **topics(source),
        **converters(source.written_as, around),
    }


def _of_engine(source: Source, services: Services) -> dict[str, str]:
    match source.engine:
        case Engine.MONGODB:
            return mongodb.settings(source)
        case Engine.POSTGRESQL:
            return postgresql.settings(source)
        case Engine.MARIADB | Engine.MYSQL:
            return binlog.settings(source, services.kafka_bootstrap)
    assert_never(source.engine)
