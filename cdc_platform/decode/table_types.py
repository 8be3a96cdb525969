"""What each type of PostgreSQL and MariaDB becomes in the lake, found by decoding an example of it.

``table_examples.json`` beside this module has values as Debezium 3.4 was seen to send them, with the part of
their schema that tells what they mean. ``docs/types-of-tables.md`` is this module's output, and a test holds
it to that:

    python -m cdc_platform.decode.table_types > docs/types-of-tables.md
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

import orjson
import polars as pl

from cdc_platform.core.logical import instance, is_wrapper, named
from cdc_platform.core.position import Engine
from cdc_platform.decode.semantic import lake_column, lost, spoken
from cdc_platform.decode.shape import Shape, from_json
from cdc_platform.decode.wire import as_sent

_NAMES: Final = {
    pl.Int64: "long",
    pl.Float64: "double",
    pl.List: "array",
    pl.Date: "date",
    pl.Boolean: "boolean",
    pl.String: "string",
    pl.Binary: "binary",
}

_COLUMNS: Final = "| type | as Debezium sends it | column | value |\n|---|---|---|---|\n"
_HEAD: Final = """\
# Types of tables

What becomes of each type of PostgreSQL and MariaDB in the lake. Made by
`python -m cdc_platform.decode.table_types`, which decodes values that Debezium was seen to send. MySQL's are
as MariaDB's; they were not run. [Types](types.md) has those of MongoDB.
"""
_TAIL: Final = """
## What to know

- All integers are `long`, all floats `double`, all decimals of up to 38 digits `decimal(38, scale)`: what
  a database widens fits. Longer decimals, and `numeric` without a precision, are text marked `decimal`,
  with exactly their digits.
- A value that its column cannot hold stands beside it as JSON, in `<column>__json`, or is a dead letter,
  or stops its table, as the source's `values` says: infinite dates and timestamps, and NaN in a decimal.
- A column whose type changes to one that its column cannot hold goes on in `<column>__v2`, until
  `cdc rebuild TABLE --from source` makes the table anew with the types of now.
- `timestamp` is without a zone and `timestamptz` in UTC. Times of day are text, `HH:MM:SS.ffffff`;
  MariaDB's may be negative, or beyond 24 hours.
- Types that Debezium does not know (composites, geometric types, multiranges) are the bytes of their
  text.

## What Debezium 3.4 loses or changes

The proof (`content`) names such rows. Better keep the columns out, or give the connector a view of them
as text.

- PostgreSQL: arrays of several dimensions, of enums, composites and domains with nulls, of bit, money,
  interval and point; NaN in an array of numerics; infinite intervals; the zone of `timetz`; the length of
  `bit varying`; a text that is `__debezium_unavailable_value`; timestamps after the year 294246. Initial
  snapshots: dates and times before 1582-10-15, `money` at its limits.
- MariaDB: `uuid` in the stream if it ends in zero bytes; enum values with a comma or characters beyond
  the Basic Multilingual Plane; zero dates are null. Initial snapshots: `float` has six digits. A table
  with `inet4` or `inet6` in the database stops its connector.
- A NULL in a nullable column with a default arrives as that default if Avro is written by Apicurio's
  converter: such tables are refused until `wire: json_with_schema` is declared, or Confluent's converter
  is given.
"""


def document() -> str:
    """The text of ``docs/types-of-tables.md``."""
    examples = json.loads(files(__package__).joinpath("table_examples.json").read_text())
    parts = [_HEAD]
    for engine in (Engine.POSTGRESQL, Engine.MARIADB):
        parts += [
            f"\n## {engine.called}\n\n| type | as Debezium sends it | column | value |\n|---|---|---|---|\n"
        ]
        parts += [_line(each) for each in examples[engine.value]]
    return "".join([*parts, _TAIL])


def _line(example: dict[str, Any]) -> str:
    shape = from_json(example["schema"])
    column, texts = _decoded(example["values"], shape)
    sent = "<br>".join(f"`{value}`" for value in example["values"]).replace("|", "\\|")
    value = "<br>".join(f"`{text}`" for text in texts).replace("|", "\\|")
    return f"| {example['type']} | {sent} | `{column}` | {value} |\n"


def _decoded(values: list[str], shape: Shape) -> tuple[str, list[str]]:
    """The column's type, and what is in it; what it cannot hold is told as JSON."""
    payloads = [orjson.dumps({"v": orjson.loads(value)}) for value in values]
    sent = as_sent(payloads, "v", shape)
    column = lake_column(sent, shape)
    beside = lost(sent, column)
    texts = [
        f"__json: {json.dumps(spoken(raw, shape), ensure_ascii=False)}" if misfit else _shown(value)
        for raw, value, misfit in zip(sent.to_list(), _texts(column), beside, strict=True)
    ]
    return _spelled(column.dtype), texts


def _texts(column: pl.Series) -> list[Any]:
    return (column.cast(pl.String) if column.dtype.is_temporal() else column).to_list()


def _shown(value: Any) -> str:
    if isinstance(value, dict) and list(value) == ["$numberDecimal"]:
        return str(value["$numberDecimal"])
    return str(value) if not isinstance(value, str) or value.isprintable() else json.dumps(value)[1:-1]


def _spelled(dtype: pl.DataType) -> str:
    match dtype:
        case _ if is_wrapper(dtype):
            return f"string ({named(dtype)})"
        case pl.List():
            return f"array<{_spelled(instance(dtype.inner))}>"
        case pl.Struct():
            inner = ", ".join(f"{each.name}: {_spelled(instance(each.dtype))}" for each in dtype.fields)
            return f"struct<{inner}>"
        case pl.Decimal():
            return f"decimal({dtype.precision}, {dtype.scale})"
        case pl.Datetime():
            return "timestamptz" if dtype.time_zone else "timestamp"
    return _NAMES[type(dtype)]


if __name__ == "__main__":
    print(document(), end="")
