"""The schema registry behind the Registry port, by Confluent's API (also Apicurio's ``/apis/ccompat/v7``).

Invariants
- Every call is bounded: ``timeout`` seconds a request, three requests.
- A schema id never changes its schema, so what was answered once is not asked for again.
"""

from __future__ import annotations

from typing import Final

import httpx
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.masking import masked

_NOT_FOUND: Final = 404
_REFUSED: Final = frozenset({401, 403})


class SchemaRegistry:
    """Makes no connection before the first question. ``url`` may have user and password in it."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._where = f"schema registry at {masked(url)}"
        self._client = SchemaRegistryClient(
            {"url": url, "timeout": timeout, "max.retries": 2, "cache.capacity": 10_000}
        )

    def schema(self, schema_id: int) -> str | None:
        try:
            found = self._client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            if error.http_status_code in _REFUSED:
                raise Terminal(
                    f"the registry refuses to show schema {schema_id}: {error.error_message}",
                    where=self._where,
                    remedy="put a user with the right to read schemas into CDC_REGISTRY_URL",
                ) from error
            raise self._silent(error) from error
        except (httpx.HTTPError, OSError) as error:
            raise self._silent(error) from error
        return found.schema_str

    def _silent(self, error: Exception) -> Transient:
        return Transient(
            f"the schema registry does not answer: {error}",
            where=self._where,
            remedy="start it, or correct CDC_REGISTRY_URL; nothing is lost, the records wait in Kafka",
        )
