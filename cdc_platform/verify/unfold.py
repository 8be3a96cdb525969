"""Values that the lake keeps as text because they fit no column, read as the source's own values.

``<field>__json`` has the text of one value, ``_others`` one object of several fields, both in MongoDB's
canonical extended JSON. pymongo reads them, and the adapters of the truth put them into the canonical form;
the code that wrote them has no part in it.

Invariant: a text that cannot be read stays a text under its column's own name. It then equals nothing that
the source has, so the row differs: loud, never a false pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions, loads

from cdc_platform.core.columns import JSON_SUFFIX, OTHERS
from cdc_platform.core.digest import Fields, encoder
from cdc_platform.verify.truth.mongodb import ADAPTERS

_CANONICAL: Final[JSONOptions] = JSONOptions(
    json_mode=JSONMode.CANONICAL, document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS
)

encode = encoder(ADAPTERS)


def unfold(column: str) -> Callable[[str], Fields] | None:
    """How to read a text column of this name (``core.digest.Unfold``)."""
    if column == OTHERS:
        return partial(_readable, column, _others)
    if column.endswith(JSON_SUFFIX):
        return partial(_readable, column, partial(_beside, column.removesuffix(JSON_SUFFIX)))
    return None


def _readable(column: str, read: Callable[[str], Iterator[tuple[str, Any]]], text: str) -> Fields:
    try:
        return {name: encode(value) for name, value in read(text) if value is not None}
    except (
        ValueError,
        TypeError,
        KeyError,
        BSONError,
    ):  # what json and bson raise for texts they do not know
        return {column: encode(text)}


def _beside(field: str, text: str) -> Iterator[tuple[str, Any]]:
    yield field, loads(text, json_options=_CANONICAL)


def _others(text: str) -> Iterator[tuple[str, Any]]:
    # Each value by itself: read as a whole, a field that is called $date would make a date of the object.
    for name, value in json.loads(text).items():
        yield name, loads(json.dumps(value), json_options=_CANONICAL)
