"""How events are written in Kafka: the converters of keys and values.

Invariant: Avro is in Confluent's wire format (byte 0, the schema's id, the datum), whichever converter writes
it, and every new schema is registered by the connector: what a table may become is the platform's to decide,
table by table, and a registry that refuses a schema stops the whole connector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, assert_never

from cdc_platform.core.capture import Wire
from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings

_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"
_APICURIO: Final = "io.apicurio.registry.utils.converter.AvroConverter"
_CONFLUENT: Final = "io.confluent.connect.avro.AvroConverter"

_NULLS: Final = {".replace.null.with.default": "false"}
"""A null is a null, also where the column has a default."""

_COMPATIBLE: Final = "/apis/ccompat/"
_NATIVE: Final = "/apis/registry/v2"


@dataclass(frozen=True, slots=True)
class Services:
    """What a connector reaches beside its database, by the addresses that the worker knows.

    ``registry_url``: of the API that is Confluent's. ``avro_converter``: the one that the worker has.
    """

    kafka_bootstrap: str = "127.0.0.1:29092"
    registry_url: str = "http://127.0.0.1:28081/apis/ccompat/v7"
    avro_converter: Literal["apicurio", "confluent"] = "apicurio"

    @classmethod
    def of(cls, settings: Settings) -> Services:
        return cls(
            settings.connect_kafka_bootstrap or settings.kafka_bootstrap,
            settings.connect_registry_url or settings.registry_url,
            settings.connect_avro_converter,
        )


def converters(wire: Wire, services: Services) -> dict[str, str]:
    """Raises Terminal if Apicurio's converter is to write to a registry that is not Apicurio's."""
    chosen = _converter(wire, services)
    return {f"{side}.converter{name}": value for side in ("key", "value") for name, value in chosen.items()}


def _converter(wire: Wire, services: Services) -> dict[str, str]:
    """The end of a setting's name → its value."""
    match wire:
        case Wire.JSON:
            return {"": _JSON, ".schemas.enable": "false", **_NULLS}
        case Wire.JSON_WITH_SCHEMA:
            return {"": _JSON, ".schemas.enable": "true", **_NULLS}
        case Wire.AVRO:
            if services.avro_converter == "confluent":
                return {
                    "": _CONFLUENT,
                    ".schema.registry.url": services.registry_url,
                    ".auto.register.schemas": "true",
                    ".ignore.default.for.nullables": "true",
                }
            return {"": _APICURIO, **_apicurio(services.registry_url)}
    assert_never(wire)


def _apicurio(registry_url: str) -> dict[str, str]:
    root, compatible, _ = registry_url.partition(_COMPATIBLE)
    if not compatible:
        raise Terminal(
            f"Apicurio's converter cannot write to the registry at {registry_url}: its address has no "
            f"{_COMPATIBLE}v7",
            where="CDC_REGISTRY_URL, CDC_CONNECT_REGISTRY_URL",
            remedy="give the address of Apicurio's API for Confluent's clients (http://…/apis/ccompat/v7), "
            "or set CDC_CONNECT_AVRO_CONVERTER=confluent if the worker has Confluent's converter",
        )
    settings = {
        "url": f"{root}{_NATIVE}",
        "auto-register": "true",
        "find-latest": "true",
        "as-confluent": "true",
        "headers.enabled": "false",
        "use-id": "contentId",
    }
    return {f".apicurio.registry.{name}": value for name, value in settings.items()}
