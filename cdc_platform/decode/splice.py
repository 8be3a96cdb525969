"""A field of a JSON text renamed and its value replaced, the rest of the text left as it is.

Faster than to write a document anew, and safer: what is not looked at cannot change.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from cdc_platform.core.columns import JSON_SUFFIX
from cdc_platform.decode.canonical import canonical_json

_COLON: Final = re.compile(r"\s*:\s*")
_ENCODER: Final = json.JSONEncoder()


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_fields)


class Splice:
    """Sets the values of one field aside, by its name."""

    def __init__(self, name: str) -> None:
        self._token = f'"{name}"'
        self._beside = f'"{name}{JSON_SUFFIX}"'

    def aside(self, text: str, value: Any) -> str | None:
        """``text`` with the field's value as canonical text beside it; None if the text alone does not tell
        which field is meant.

        ``text``: a JSON document that has the field at some level. ``value``: what it is there.
        """
        token = self._token
        start = text.find(token)
        after = start + len(token)
        # Inside of a string every quote is escaped. So a token that a colon follows is a field's name.
        if start < 1 or text[start - 1] == "\\" or text.find(token, after) >= 0 or self._beside in text:
            return None
        colon = _COLON.match(text, after)
        if colon is None:
            return None
        found, end = _DECODER.raw_decode(text, colon.end())
        if found != value:
            return None
        return f"{text[:start]}{self._beside}:{_ENCODER.encode(canonical_json(found))}{text[end:]}"
