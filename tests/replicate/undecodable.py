"""Records that no policy makes a row of, as a topic may get them by mistake or by a broken connector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from tests.replicate.memory_log import Visible

Spoiled = Callable[[bytes, bytes], Visible]
"""A sound record's key and value → an undecodable record."""


def _other(value: bytes, **fields: object) -> bytes:
    return orjson.dumps({**orjson.loads(value), **fields})


def _imaged(value: bytes, text: str) -> bytes:
    """With another document in it, the one that the event's row would be made of."""
    image = "before" if orjson.loads(value)["op"] == "d" else "after"
    return _other(value, **{image: text})


VALUES: Final[Mapping[str, Spoiled]] = {
    "no JSON": lambda key, _value: (key, b"no json"),
    "nothing": lambda key, _value: (key, b""),
    "white space": lambda key, _value: (key, b" \n\t "),
    "a JSON null": lambda key, _value: (key, b"null"),
    "a list": lambda key, _value: (key, b"[]"),
    "a text": lambda key, _value: (key, b'"text"'),
    "two objects": lambda key, value: (key, value + b"\n" + value),
    "cut short": lambda key, value: (key, value[: len(value) // 2]),
    "Avro": lambda key, value: (key, b"\x00\x00\x00\x00\x07" + value),
    "not UTF-8": lambda key, value: (key, value.replace(b'"op"', b'"\xff\xfe":1,"op"')),
    "no envelope": lambda key, _value: (key, b'{"hello":"world"}'),
    "unknown op": lambda key, value: (key, _other(value, op="x")),
    "no op": lambda key, value: (key, _other(value, op=None)),
    "op of a wrong type": lambda key, value: (key, _other(value, op=7)),
    "no position": lambda key, value: (key, _other(value, source={"ord": 1})),
    "no source": lambda key, value: (key, _other(value, source=None)),
    "a document that is a list": lambda key, value: (key, _imaged(value, "[1]")),
    "a document cut short": lambda key, value: (key, _imaged(value, '{"_id":1,')),
    "a field twice": lambda key, value: (key, _imaged(value, '{"_id":1,"v":1,"v":2}')),
}
"""What is wrong with the value. Its key is sound, so the right value makes it a row."""

KEYS: Final[Mapping[str, Spoiled]] = {
    "no key": lambda _key, value: (None, value),
    "a key that is no JSON": lambda _key, value: (b"key", value),
    "a key without an id": lambda _key, value: (b'{"nope":1}', value),
    "a key not UTF-8": lambda _key, value: (b"\xff\xfe", value),
}
"""What is wrong with the key: no other value makes a row of it."""
