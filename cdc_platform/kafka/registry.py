"""The schema registry behind the Registry port, by Confluent's API (also Apicurio's ``/apis/ccompat/v7``).

Invariants
- Every call is bounded: ``timeout`` seconds a request, ATTEMPTS requests.
- A schema id never changes its schema: who asks keeps the answer (``decode.wire``).
"""

from __future__ import annotations

from typing import Any, Final

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.masking import masked

ATTEMPTS: Final = 3

_ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"
_REFUSED: Final = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.METHOD_NOT_ALLOWED})
"""The last: a registry that is set to delete nothing."""


class SchemaRegistry:
    """Makes no connection before the first question. ``url`` may have user and password in it."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._where = f"schema registry at {masked(url)}"

    def schema(self, schema_id: int) -> str | None:
        found = self._asked("GET", f"/schemas/ids/{schema_id}")
        return None if found is None else str(found["schema"])

    def versions(self, subject: str) -> dict[int, int]:
        """Version → schema id; none for a subject that is not there."""
        path = f"/subjects/{subject}/versions"
        found = {
            version: self._asked("GET", f"{path}/{version}") for version in self._asked("GET", path) or []
        }
        return {version: int(each["id"]) for version, each in found.items() if each is not None}

    def remove(self, subject: str, version: int) -> None:
        """One version of a subject. One that is not there any more is no error."""
        self._asked("DELETE", f"/subjects/{subject}/versions/{version}")

    def _asked(self, method: str, path: str) -> Any:
        """The registry's answer; None if it has no such thing."""
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception_type((httpx.TransportError, _Failing)),
            reraise=True,
        )
        try:
            response: httpx.Response = retrying(self._send, method, path)
        except (httpx.HTTPError, _Failing) as error:
            raise Transient(
                f"the schema registry does not answer: {error}",
                where=self._where,
                remedy="start it, or correct CDC_REGISTRY_URL; nothing is lost, the records wait in Kafka",
            ) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.is_success:
            return response.json()
        raise Terminal(
            f"the schema registry refuses {method} {path}: {response.status_code} {response.text[:200]}",
            where=self._where,
            remedy="put a user with that right into CDC_REGISTRY_URL"
            if response.status_code in _REFUSED
            else "is CDC_REGISTRY_URL the address of Confluent's API? Apicurio's ends in /apis/ccompat/v7",
        )

    def _send(self, method: str, path: str) -> httpx.Response:
        response = httpx.request(
            method, f"{self._url}{path}", headers={"Accept": _ACCEPT}, timeout=self._timeout
        )
        if response.is_server_error:
            raise _Failing(f"{response.status_code} {response.text[:200]}")
        return response


class _Failing(Exception):
    """The registry's answer is a failure of its own."""
