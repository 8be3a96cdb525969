"""A server that stands before a catalog and fails as it is told to."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from tests.lake.serving import QuietHandler, served

_PASSED_ON = {"content-type", "accept", "user-agent", "x-client-version"}


@dataclass(frozen=True, slots=True)
class Fault:
    """``status``: what is answered, None for a connection that ends without an answer, 0 for the answer as it
    is. ``applied``: the catalog got the request first, so many times. ``delay``: seconds before the answer.
    """

    status: int | None
    applied: int = 0
    body: str = ""
    delay: float = 0.0


class Proxy:
    """Passes requests on. ``fails`` holds what happens to the next ones of a method, in their order."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.asked: list[str] = []
        self._fails: list[tuple[str, Fault]] = []
        self._lock = Lock()

    def fail(self, method: str, *faults: Fault) -> None:
        with self._lock:
            self._fails += [(method, fault) for fault in faults]

    def asks(self, method: str, path: str) -> Fault | None:
        """Note a request; the fault that it meets."""
        with self._lock:
            self.asked.append(f"{method} {path}")
            at = next((n for n, (wanted, _) in enumerate(self._fails) if wanted in {method, "*"}), None)
            return None if at is None else self._fails.pop(at)[1]


@contextmanager
def proxy(upstream: str = "") -> Iterator[Proxy]:
    """On a free port; without an upstream only its faults answer."""
    made = Proxy(upstream)

    class Handler(_Handler):
        stands_before = made

    with served(Handler) as made.url:
        yield made


class _Handler(QuietHandler):
    stands_before: Proxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.stands_before.asks(self.command, self.path) or Fault(0, applied=1)
        answer = (502, "", b"")
        for _ in range(fault.applied):
            answer = self._forwarded(body)
        time.sleep(fault.delay)
        self.close_connection = True
        if fault.status is None:
            return
        if fault.status:
            answer = (fault.status, "application/json", fault.body.encode())
        status, kind, content = answer
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

    def _forwarded(self, body: bytes) -> tuple[int, str, bytes]:
        upstream = urlsplit(self.stands_before.upstream)
        connection = http.client.HTTPConnection(upstream.netloc, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type") or "", answer.read()
        finally:
            connection.close()
