"""How records are written: Avro with a registry, or JSON with its schema; told by the records themselves.

Records of one schema are read together, as columns of one shape. A topic may hold several schemas, and both
formats, in any order: what a connector is changed to begins with its next record.

Invariant: both formats give the same columns. What JSON writes as text (bytes, numbers that are not numbers)
is what Avro has when this module is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import polars as pl
from polars.exceptions import PolarsError

from cdc_platform.core.ports import Registry
from cdc_platform.decode.avro import read_datums, schema_ids
from cdc_platform.decode.refusal import Refusal, sift
from cdc_platform.decode.shape import Shape, from_avro, from_json
from cdc_platform.decode.structs import each_field

CONVERTER: Final = (
    "let only the source's connector write to this topic, with wire: avro or json_with_schema in the "
    "source's declaration, and without a transform that flattens the event (ExtractNewDocumentState)"
)
_REGISTRY: Final = (
    "look whether the registry is the one that the connector writes to (CDC_REGISTRY_URL) and whether the "
    "schema was deleted there; then replay the letter"
)
NO_KEY: Final = b'{"schema":null,"payload":null}'
"""What JsonConverter makes of no key, with schemas."""
_HEAD: Final = b'{"schema":'
_PAYLOAD: Final = b',"payload":'


@dataclass(frozen=True, slots=True)
class Read:
    """Records of one schema: ``frame`` has a column a field of ``shape``; ``rows``: their index."""

    rows: pl.Series
    frame: pl.DataFrame
    shape: Shape


@dataclass(frozen=True, slots=True)
class _Schema:
    """``avro``: None if it is JSON's. ``head``: what comes before the payload, of JSON."""

    shape: Shape
    avro: Any = None
    head: bytes = b""


@dataclass(slots=True)
class Wire:
    """Reads keys or values. Remembers the schemas it has met: an id never changes its schema."""

    registry: Registry | None
    _known: dict[int, _Schema | str] = field(default_factory=dict)
    _heads: dict[bytes, _Schema | str] = field(default_factory=dict)

    def read(self, part: str, rows: pl.Series, texts: pl.Series, bad: list[Refusal]) -> Iterator[Read]:
        """``texts``: without nulls, with the index of each in ``rows``. ``bad`` gets what cannot be read."""
        frame = pl.DataFrame({"row": rows, "v": texts, "id": schema_ids(texts)})
        for (schema_id,), group in frame.group_by("id", maintain_order=True):
            if schema_id is None:
                yield from self._read_json(part, group, bad)
            else:
                yield from _read(part, group, self._schema(int(str(schema_id))), bad)

    def _read_json(self, part: str, group: pl.DataFrame, bad: list[Refusal]) -> Iterator[Read]:
        while group.height:
            head = _head(group["v"][0])
            if head is None:
                bad.append(Refusal(group["row"][0], _strange(part, group["v"][0]), CONVERTER))
                group = group.slice(1)
                continue
            alike = group["v"].bin.starts_with(head)
            yield from _read(part, group.filter(alike), self._of_head(head), bad)
            group = group.filter(~alike)

    def _schema(self, schema_id: int) -> _Schema | str:
        found = self._known.get(schema_id)
        if found is None:
            text = None if self.registry is None else self.registry.schema(schema_id)
            if text is None:
                return f"its schema, id {schema_id}, is not in the registry"
            found = self._known[schema_id] = _avro(text)
        return found

    def _of_head(self, head: bytes) -> _Schema | str:
        if head not in self._heads:
            self._heads[head] = _json(head)
        return self._heads[head]


def _avro(text: str) -> _Schema | str:
    try:
        parsed = orjson.loads(text)
        return _Schema(from_avro(parsed), parsed)
    except ValueError as error:
        return f"its schema cannot be read: {error}"


def _json(head: bytes) -> _Schema | str:
    try:
        return _Schema(from_json(orjson.loads(head[len(_HEAD) : -len(_PAYLOAD)])), head=head)
    except ValueError as error:
        return f"its schema cannot be read: {error}"


def _head(value: bytes) -> bytes | None:
    """All that comes before the payload. In a schema only a name stands in quotes before a colon."""
    if not value.startswith(_HEAD):
        return None
    at = value.find(b"}" + _PAYLOAD)
    return None if at < 0 else value[: at + 1 + len(_PAYLOAD)]


def _strange(part: str, value: bytes) -> str:
    if value[:1] == b"{":
        return f"the {part} is JSON without its schema, which does not tell the types of a table's columns"
    return f"the {part} is neither Avro of Confluent's wire format nor JSON with its schema"


def _read(part: str, group: pl.DataFrame, schema: _Schema | str, bad: list[Refusal]) -> Iterator[Read]:
    if isinstance(schema, str):
        bad += [Refusal(row, f"the {part} cannot be read: {schema}", _REGISTRY) for row in group["row"]]
        return
    reader = _reader(schema)
    found = reader(group["v"])
    if isinstance(found, str):
        faults = dict(sift(group.height, lambda start, stop: _fault(reader, group["v"][start:stop])))
        faults = faults or dict.fromkeys(range(group.height), found)
        bad += [
            Refusal(group["row"][at], f"the {part} is no change event's: {reason}", CONVERTER)
            for at, reason in faults.items()
        ]
        group = group[[at for at in range(group.height) if at not in faults]]
        if group.is_empty():
            return
        found = reader(group["v"])
        assert isinstance(found, pl.DataFrame)
    yield Read(group["row"], found, schema.shape)


def _fault(reader: Callable[[pl.Series], pl.DataFrame | str], values: pl.Series) -> str | None:
    found = reader(values)
    return found if isinstance(found, str) else None


def _reader(schema: _Schema) -> Callable[[pl.Series], pl.DataFrame | str]:
    if schema.avro is not None:
        return lambda values: read_datums(values, schema.avro)
    return lambda values: _read_payloads(values, schema)


def _read_payloads(values: pl.Series, schema: _Schema) -> pl.DataFrame | str:
    """JSON payloads, strictly: a value of another type than its schema's is an error."""
    payload = pl.col("v").bin.slice(len(schema.head))
    # Without the brace that closes the envelope.
    frame = values.to_frame("v").select(payload.bin.head(payload.bin.size() - 1))
    payloads = frame["v"]
    if not payloads.bin.starts_with(b"{").all():
        return "it has no payload"
    wanted = pl.Schema({each.name: _written(each.shape) for each in schema.shape.fields})
    try:
        frame = pl.read_ndjson(b"\n".join(payloads), schema=wanted)
    except PolarsError as error:
        return str(error).splitlines()[0]
    if frame.height != len(values):
        return "it is not one JSON object"
    columns = [_as_avro(frame[each.name], each.shape) for each in schema.shape.fields]
    return pl.DataFrame(columns)


def as_sent(payloads: Sequence[bytes], name: str, shape: Shape) -> pl.Series:
    """One field of JSON payloads, as Avro would have it."""
    frame = pl.read_ndjson(b"\n".join(payloads), schema={name: _written(shape)})
    return _as_avro(frame[name], shape)


def _written(shape: Shape) -> pl.DataType:
    """How a value of this shape stands in JSON."""
    match shape.kind:
        case "boolean":
            return pl.Boolean()
        case "int8" | "int16" | "int32" | "int64":
            return pl.Int64()
        case "array" if shape.items is not None:
            return pl.List(_written(shape.items))
        case "struct":
            return pl.Struct({each.name: _written(each.shape) for each in shape.fields})
    return pl.String()  # bytes are base64; floats, as NaN is no number there; maps, as their text


def _as_avro(values: pl.Series, shape: Shape) -> pl.Series:
    if not _has_texts(shape):
        return values
    match shape.kind:
        case "bytes":
            return values.str.decode("base64", strict=True)
        case "float" | "float32":
            return values.cast(pl.Float32)
        case "double" | "float64":
            return values.cast(pl.Float64)
        case "array" if shape.items is not None:
            items = shape.items
            return values.list.eval(
                pl.element().map_batches(lambda inner: _as_avro(inner, items), return_dtype=_avro_type(items))
            )
        case "struct":
            return each_field(values, shape, _as_avro)
    return values


def _has_texts(shape: Shape) -> bool:
    if shape.kind in ("bytes", "float", "double", "float32", "float64"):
        return True
    inner = [each.shape for each in shape.fields] + ([shape.items] if shape.items else [])
    return any(map(_has_texts, inner))


def _avro_type(shape: Shape) -> pl.DataType:
    match shape.kind:
        case "bytes":
            return pl.Binary()
        case "float" | "float32":
            return pl.Float32()
        case "double" | "float64":
            return pl.Float64()
        case "array" if shape.items is not None:
            return pl.List(_avro_type(shape.items))
        case "struct":
            return pl.Struct({each.name: _avro_type(each.shape) for each in shape.fields})
    return _written(shape)
