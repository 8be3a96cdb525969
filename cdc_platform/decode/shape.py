"""Kafka Connect's schemas: what a record's fields are, told by its JSON envelope or by an Avro schema.

Both ways of writing give the same ``Shape``, so what follows knows one description of a record.

Source: JsonConverter's envelope (``{"schema": …, "payload": …}``), and AvroData's properties
``connect.name``, ``connect.type``, ``connect.parameters`` of an Avro schema.
The column's own name, where the converter had to
change it, is in a parameter that Debezium sets with ``column.propagate.source.type``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

_COLUMN: Final = "__debezium.source.column.name"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})

_FROM_AVRO: Final = {
    "boolean": "boolean",
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "enum": "string",
    "bytes": "bytes",
    "fixed": "bytes",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """``kind``: Connect's type: boolean, int8 to int64, float, double, string, bytes, array, map, struct.

    ``semantic``: the schema's name, which says what the value means, as ``io.debezium.time.Date``.
    ``items``: of an array's elements.
    """

    kind: str
    semantic: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: _NONE)
    fields: tuple[Field, ...] = ()
    items: Shape | None = None

    def field(self, name: str) -> Shape | None:
        return next((each.shape for each in self.fields if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Field:
    """``name``: in the record. ``column``: in the database. ``optional``: may be null. ``default``: has
    one."""

    name: str
    shape: Shape
    optional: bool = True
    default: bool = False

    @property
    def column(self) -> str:
        told = self.shape.parameters.get(_COLUMN, self.name)
        # Two columns of one struct type share its definition in Avro, and with it the first one's name.
        return _unmangled(told) if self.name in {told, _adjusted(told)} else self.name


def _adjusted(name: str) -> str:
    """As ``field.name.adjustment.mode=avro`` does, character by character of Java's 16 bits."""
    units = name.encode("utf-16-be", "surrogatepass")
    chars = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    plain = "".join(
        chr(each) if each < 128 and (chr(each).isalnum() or each == 95) else "_" for each in chars
    )
    return f"_{plain}" if plain[:1].isdigit() else plain


def _unmangled(name: str) -> str:
    """Debezium 3.4 reads names in PostgreSQL's stream byte by byte, each as a signed character of its own:
    of ``ñ`` come U+FFC3 and U+FFB1."""
    if name.isascii() or not any(ord(each) >= 0xFF80 for each in name):
        return name
    try:
        return b"".join(
            bytes([ord(each) & 0xFF]) if 0xFF80 <= ord(each) <= 0xFFFF else each.encode() for each in name
        ).decode()
    except UnicodeDecodeError:
        return name


def from_json(schema: Any) -> Shape:
    """Of the envelope's ``schema``. Raises ValueError for what is none."""
    match schema:
        case {"type": "struct", "fields": list(fields)}:
            inner = tuple(
                Field(str(each["field"]), from_json(each), each.get("optional", True), "default" in each)
                for each in fields
            )
            return Shape("struct", *_named(schema), fields=inner)
        case {"type": "array", "items": items}:
            return Shape("array", *_named(schema), items=from_json(items))
        case {"type": "map"}:
            return Shape("map", *_named(schema))
        case {"type": str(kind)}:
            return Shape(kind, *_named(schema))
    raise ValueError(f"no schema of Kafka Connect: {str(schema)[:80]}")


def from_avro(schema: Any) -> Shape:
    """Of a parsed Avro schema. Raises ValueError for a union of more than null and one type."""
    return _avro(schema, {}, "")


def _avro(schema: Any, known: dict[str, Shape], namespace: str) -> Shape:
    match schema:
        case str():
            return _plain(schema, known, namespace)
        case list():
            some = [each for each in schema if each != "null"]
            if len(some) != 1:
                raise ValueError(f"a union of {len(some)} types")
            return _avro(some[0], known, namespace)
        case {"type": dict() | list() as inner_type}:
            return _avro(inner_type, known, namespace)
        case {"type": str(kind)}:
            return _complex(schema, kind, known, namespace)
    raise ValueError(f"no Avro schema: {str(schema)[:80]}")


def _plain(name: str, known: dict[str, Shape], namespace: str) -> Shape:
    if name in _FROM_AVRO:
        return Shape(_FROM_AVRO[name])
    found = known.get(name) or known.get(f"{namespace}.{name}")
    if found is None:
        raise ValueError(f"the Avro type {name} is not defined")
    return found


def _complex(schema: Mapping[str, Any], kind: str, known: dict[str, Shape], namespace: str) -> Shape:
    named = _named(schema, "connect.")
    match schema:
        case {"type": "record", "name": str(name), "fields": list(fields)}:
            inside, full = _full_name(schema, name, namespace)
            inner = tuple(
                Field(
                    each["name"],
                    _avro(each["type"], known, inside),
                    isinstance(each["type"], list) and "null" in each["type"],
                    each.get("default") is not None,
                )
                for each in fields
            )
            known[full] = Shape("struct", *named, fields=inner)
            return known[full]
        case {"type": "map"} | {"type": "array", "items": {"type": "record", "name": "MapEntry"}}:
            return Shape("map", *named)
        case {"type": "array", "items": items}:
            return Shape("array", *named, items=_avro(items, known, namespace))
        case {"type": "enum" | "fixed", "name": str(name)}:
            _, full = _full_name(schema, name, namespace)
            known[full] = Shape(_FROM_AVRO[kind], *named)
            return known[full]
    if kind in _FROM_AVRO:
        return Shape(str(schema.get("connect.type", _FROM_AVRO[kind])), *named)
    return _plain(kind, known, namespace)


def _full_name(schema: Mapping[str, Any], name: str, namespace: str) -> tuple[str, str]:
    """The namespace inside of a named type, and its full name."""
    inside, _, _ = name.rpartition(".")
    inside = inside or schema.get("namespace", namespace)
    last = name.rpartition(".")[2]
    return inside, f"{inside}.{last}" if inside else last


def _named(schema: Mapping[str, Any], prefix: str = "") -> tuple[str, Mapping[str, str]]:
    parameters = {str(k): str(v) for k, v in dict(_parameters(schema, prefix)).items()}
    return str(schema.get(f"{prefix}name", "")), MappingProxyType(parameters)


def _parameters(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    yield from (schema.get(f"{prefix}parameters") or {}).items()
    if prefix and schema.get("logicalType") == "decimal":
        # AvroData keeps a decimal's scale and precision as Avro does, not as parameters.
        yield "scale", schema.get("scale", 0)
        if "precision" in schema:
            yield "avro.precision", schema["precision"]
