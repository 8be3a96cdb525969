"""Somebody else who writes undecodable records into a captured topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

from confluent_kafka import Producer

from tests.replicate.events import deleted
from tests.replicate.undecodable import KEYS, VALUES

Place = tuple[int, int]
"""Partition and offset."""


class Poison:
    """``places``: where its records lie, by topic, once they are written. ``repairs``: what the value of each
    should have been, for those whose key is sound: deletes of keys that the source never had."""

    def __init__(self, bootstrap: str, rng: Random) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2, "linger.ms": 5})
        self._rng = rng
        self.places: dict[str, set[Place]] = {}
        self.repairs: dict[str, dict[Place, bytes]] = {}

    def write(
        self, topic: str, records: int, seconds: float = 0.0, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """That many, spread over so much time; returns when Kafka has them."""
        began = time.monotonic()
        self.places.setdefault(topic, set())
        self.repairs.setdefault(topic, {})
        for number in range(records):
            while time.monotonic() - began < seconds * number / records and not stopped():
                self._producer.poll(0.005)
            if stopped():
                break
            self._produce(topic)
        assert self._producer.flush(30) == 0

    def _produce(self, topic: str) -> None:
        key, value = deleted(-self._rng.randint(1, 2**40))
        assert key
        assert value
        repair = value if self._rng.random() < 0.8 else None
        spoil = self._rng.choice(list((VALUES if repair else KEYS).values()))
        spoiled_key, spoiled_value = spoil(key, value)

        def written(error: Any, message: Any) -> None:
            assert error is None, error
            place = message.partition(), message.offset()
            self.places[topic].add(place)
            if repair:
                self.repairs[topic][place] = repair

        self._producer.produce(topic, key=spoiled_key, value=spoiled_value, on_delivery=written)
        self._producer.poll(0)
