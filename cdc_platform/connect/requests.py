"""Requests to Kafka Connect: tried again while that may help, with an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import tenacity

from cdc_platform.connect import answers
from cdc_platform.core.errors import Terminal, Transient


class Requests:
    """``timeout``: seconds for one request; Connect answers within 90, since validating settings connects to
    the database. ``attempts``: how often one request is made at most; between two of them it waits 0.2 s,
    then twice as long each time, up to 3 s.
    """

    def __init__(self, url: str, timeout: float, attempts: int, sleep: Callable[[float], None]) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=httpx.Timeout(timeout, connect=5.0))
        self._attempts = attempts
        self._sleep = sleep

    def close(self) -> None:
        self._http.close()

    def send(
        self, method: str, path: str, body: Mapping[str, str] | None = None, *, unknown: str = ""
    ) -> httpx.Response:
        """The accepted answer. ``unknown``: the connector that a 404 means."""
        answer = self.answer(method, path, body)
        if unknown and answer.status_code == httpx.codes.NOT_FOUND:
            raise self.unknown(unknown)
        return self.accepted(answer)

    def unknown(self, name: str) -> Terminal:
        """What to say of a connector that is not there."""
        return Terminal(
            f"Kafka Connect knows no connector {name}",
            where=self.url,
            remedy="list the connectors; deploy the source if it is not among them",
        )

    def answer(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        """Whatever is answered, tried again while that may help."""
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_exponential(multiplier=0.2, max=3.0),
            sleep=self._sleep,
            reraise=True,
        )
        return retry(self.once, method, path, body)

    def once(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        """One request. Raises Transient where the same request may succeed later."""
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Transient(
                f"Kafka Connect does not answer {method} {path}: {error}",
                where=self.url,
                remedy="start Kafka Connect, or correct its address (CDC_CONNECT_URL)",
            ) from error
        if answer.status_code == httpx.codes.CONFLICT:
            raise Transient(
                f"Kafka Connect is busy with a rebalance: {answers.message(answer)}",
                where=self.url,
                remedy="ask again when its workers have settled",
            )
        if answer.is_server_error:
            raise Transient(
                f"Kafka Connect answers {method} {path} with {answer.status_code}: {answers.message(answer)}",
                where=self.url,
                remedy="look into the worker's log",
            )
        return answer

    def accepted(self, answer: httpx.Response) -> httpx.Response:
        """The answer. Raises Terminal if it is a refusal."""
        if answer.is_success:
            return answer
        request = answer.request
        raise Terminal(
            f"Kafka Connect refuses {request.method} {request.url.path} "
            f"({answer.status_code}): {answers.message(answer)}",
            where=self.url,
            remedy="correct what Connect names",
        )
