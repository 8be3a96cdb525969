"""A source with a random history, and what the way into the log does to some of its events.

Everything here is plain Python: documents in dicts, events as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.replicate.events import Doc, event
from tests.replicate.memory_log import Visible
from tests.replicate.undecodable import KEYS as BAD_KEYS
from tests.replicate.undecodable import VALUES

KEYS: Final = ("a", "b", "it's", 'say "hi"', "\u00e9\U0001f600", "", "zz")
LARGEST: Final = 3_000
"""Bytes of a record, at most: what is made larger becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one document. ``doc``: the row's image, of a delete the one before. ``at``: its place in
    the source's order."""

    key: str
    operation: str
    doc: Doc
    at: int

    def record(self) -> Visible:
        if self.operation == "d":
            return event(self.key, "d", None, self.doc, self.at)
        return event(self.key, self.operation, self.doc, None, self.at)


@dataclass(slots=True)
class Source:
    """Documents that change at random; every change is an event, in the source's order.

    ``mixing``: how often a field has a value of another type.
    """

    rng: Random
    mixing: float = 0.0
    documents: dict[str, Doc] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    fields: list[str] = field(default_factory=lambda: ["v"])
    clock: int = 0

    def change(self) -> Event:
        key = self.rng.choice(KEYS)
        known = self.documents.get(key)
        if known is not None and self.rng.random() < 0.35:
            del self.documents[key]
            return self._happened(key, "d", known)
        doc = self._document(key)
        self.documents[key] = doc
        snapshot = not self.events or (known is None and self.rng.random() < 0.1)
        return self._happened(key, "u" if known is not None else "r" if snapshot else "c", doc)

    def _happened(self, key: str, operation: str, doc: Doc) -> Event:
        # A snapshot's row has no place within its second: it gets one of its own (four places each).
        at = -(-self.clock // 4) * 4 if operation == "r" else self.clock
        self.clock = at + (4 if operation == "r" else 1)
        self.events.append(Event(key, operation, doc, at))
        return self.events[-1]

    def _document(self, key: str) -> Doc:
        if self.rng.random() < 0.1:
            self.fields.append(f"f{len(self.fields)}")
        doc: Doc = {"_id": key}
        for name in self.rng.sample(self.fields, self.rng.randint(0, len(self.fields))):
            doc[name] = self._value(self.rng.randint(-5, 10**12))
        if self.rng.random() < 0.2:
            names = self.rng.sample("xyz", 2)
            inner = {name: self._value(str(self.rng.randint(0, 9))) for name in names}
            doc["at"] = self._value(inner)
        if self.rng.random() < self.mixing / 3:
            doc["V"] = self.rng.randint(0, 9)
        return doc

    def _value(self, usual: Any) -> Any:
        if self.rng.random() >= self.mixing:
            return usual
        return self.rng.choice((2.5, True, "noon", 7, {"x": 7}, [1, "two"], {"w": {"$oid": "0" * 24}}))


def corrupted(rng: Random, happened: Event) -> Visible:
    """The event's record, changed on the way so that it cannot become a row."""
    key, value = happened.record()
    assert key is not None
    assert value is not None
    if rng.random() < 0.1:
        return key, value + b" " * LARGEST
    return rng.choice(list(VALUES.values()))(key, value)


def junk(rng: Random) -> Visible:
    """A record that no change of the source stands behind, and that no repair makes a row of."""
    key, value = event("stray", "c", {"_id": "stray", "v": 1})
    assert key is not None
    assert value is not None
    return rng.choice(list(BAD_KEYS.values()))(key, value)
