"""What each BSON type becomes in the lake, found by decoding an example of it.

``docs/types.md`` is this module's output, and a test holds it to that:

    python -m cdc_platform.decode.types > docs/types.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.logical import instance, is_wrapper, named, stored
from cdc_platform.core.model import Policy
from cdc_platform.decode.documents import Layout, read_documents

_NAMES: Final = {pl.Int64: "long", pl.Float64: "double", pl.Datetime: "timestamp", pl.List: "array"}


@dataclass(frozen=True, slots=True)
class Example:
    """``printed``: a value of the type as Debezium prints it. ``remark``: what may surprise."""

    type: str
    printed: str
    remark: str = ""


EXAMPLES: Final = (
    Example("Int32", "7", "both integer types are one column"),
    Example("Int64", '{"$numberLong": "9223372036854775807"}'),
    Example("Double", "1.5", "NaN, both infinities and -0.0 stay; the payload of a NaN does not"),
    Example(
        "Decimal128", '{"$numberDecimal": "1.50"}', "with exactly its digits; the column is marked `decimal`"
    ),
    Example("String", '"text"', "with NUL and any character; a text that looks like a date stays text"),
    Example("Boolean", "true"),
    Example("Date", '{"$date": 1700000000123}', "in UTC; beyond ±292,277 years its text is kept"),
    Example("ObjectId", '{"$oid": "65a000000000000000000001"}', "the column is marked `objectId`"),
    Example("UUID", '{"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "04"}', "the column is marked `uuid`"),
    Example("Binary, subtype 0", '{"$binary": "AAH/", "$type": "00"}'),
    Example("Binary, other subtypes", '{"$binary": "gA==", "$type": "80"}', "base64, and the subtype in hex"),
    Example("Document", '{"a": 1, "b": {"c": "x"}}', "a field that is null is one that is missing"),
    Example("Array", "[1, null, 2]", "nulls in it stay"),
    Example("Array of documents", '[{"sku": "x", "n": 1}]'),
    Example("Empty array", "[]", "text until a value says what it is an array of"),
    Example("Empty document", "{}", "likewise"),
    Example("Array of mixed types", '[1, "a"]'),
    Example("Null", "null", "the same as a missing field"),
    Example("Timestamp", '{"$timestamp": {"t": 1700000000, "i": 5}}'),
    Example("Regular expression", '{"$regex": "^a.*", "$options": "im"}'),
    Example("JavaScript", '{"$code": "return 1"}'),
    Example("JavaScript with scope", '{"$code": "return x", "$scope": {"x": 1}}'),
    Example("MinKey", '{"$minKey": 1}'),
    Example("MaxKey", '{"$maxKey": 1}'),
    Example("DBRef", '{"$ref": "orders", "$id": 1}'),
    Example(
        "DBPointer (outdated)", '{"$ref": "a.b", "$id": {"$oid": "65a000000000000000000001"}}', "a DBRef"
    ),
    Example("Symbol (outdated)", '{"$symbol": "text"}', "not provable, see below"),
    Example("Undefined (outdated)", '{"$undefined": true}', "not provable, see below"),
)

_HEAD: Final = """\
# Types

Of MongoDB. [Types of tables](types-of-tables.md) has those of PostgreSQL and MariaDB.

What becomes of each BSON type in the lake. Made by `python -m cdc_platform.decode.types`, which decodes each
example.

| BSON type | as Debezium prints it | column `v` in the lake | value | |
|---|---|---|---|---|
"""

_TAIL: Final = """
A mark is in the metadata of the column (`cdc.type`, for the items of an array `cdc.type[]`): the text of an
ObjectId in a field of ObjectIds is not taken for one.

## Values that do not fit

A column keeps the type it began with; for a field that is new it is the type most values of the batch have,
unless the source declares one (`columns`). A value of another type is never cast. What becomes of it is the
source's `values`:

| policy | what happens |
|---|---|
| `json` | it stands beside its field, at the same depth, as canonical extended JSON: `v__json`; the default |
| `quarantine` | its event becomes a dead letter, the stream goes on |
| `refuse` | its table stops before its event, after what lies before it is committed |

With `json`, in the middle of a batch, into a column `v` of type long:

| value in MongoDB | `v` | `v__json` |
|---|---|---|
"""

_END: Final = """
## Names

Fields whose names cannot be columns are kept in `_others`, one JSON object a document, at their own depth:
the platform's columns, names that differ from another only in case, names ending in `__json`, `_others`
itself, empty names.

## Limits

- The order of a document's fields is not kept, and 1 and 1.0 are the same number, as MongoDB compares them.
- What Debezium prints alike is alike: a DBPointer and a DBRef, an ObjectId and a document `{"$oid": …}`, and
  so on. Of two fields of one name it prints one; what is not UTF-8 in a text it prints as U+FFFD.
- MongoDB's driver reads symbols as text and undefined as null. So the check `content` fails for a document
  that has one, though the lake holds it as it was printed.
- A document nested deeper than 32 levels is kept as text from there on.
- MongoDB's largest document is 16 MB: `docs/decisions/0017-large-documents.md` says what one needs.
"""

_INTO_LONG: Final = ("7", '{"$numberLong": "8"}', "7.5", '"seven"', '{"$date": 0}', "[]", "null")


def document() -> str:
    """The text of ``docs/types.md``."""
    rows = [
        f"| {each.type} | `{each.printed}` | {_column(each)} | {_value(each)} | {each.remark} |"
        for each in EXAMPLES
    ]
    found = _read(_INTO_LONG, pl.Schema({"v": pl.Int64()}))
    misfits = [
        f"| `{printed}` | {_shown(row.get('v'))} | {_shown(row.get('v__json'))} |"
        for printed, row in zip(_INTO_LONG, found.to_dicts(), strict=True)
    ]
    return _HEAD + "\n".join(rows) + "\n" + _TAIL + "\n".join(misfits) + "\n" + _END


def _read(values: tuple[str, ...], table: pl.Schema | None = None) -> pl.DataFrame:
    texts = pl.Series([f'{{"_id": 1, "v": {value}}}' for value in values])
    frame = read_documents(texts, table or pl.Schema(), Policy.JSON, Layout()).frame
    return pl.DataFrame(stored(frame))


def _column(example: Example) -> str:
    texts = pl.Series([f'{{"_id": 1, "v": {example.printed}}}'])
    frame = read_documents(texts, pl.Schema(), Policy.JSON, Layout()).frame
    if "v" in frame.columns:
        return f"`{_spelled(frame.schema['v'])}`"
    return "`v__json`: `string`" if "v__json" in frame.columns else "none"


def _value(example: Example) -> str:
    row = _read((example.printed,)).to_dicts()[0]
    return _shown(row.get("v", row.get("v__json")))


def _shown(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _spelled(dtype: pl.DataType) -> str:
    """In the words of Delta, a marked text as ``string``."""
    if is_wrapper(dtype):
        return f"string ({named(dtype)})"
    if isinstance(dtype, pl.List):
        return f"array<{_spelled(instance(dtype.inner))}>"
    if isinstance(dtype, pl.Struct):
        inner = ", ".join(f"{each.name}: {_spelled(instance(each.dtype))}" for each in dtype.fields)
        return f"struct<{inner}>"
    return _NAMES.get(type(dtype), str(dtype).lower())


if __name__ == "__main__":
    print(document(), end="")
