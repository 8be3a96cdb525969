"""A network between us and an S3 store, which fails as it is told to.

Invariant: it holds no state of the store and answers nothing by itself but faults: what a test reads
afterwards, without it, is what the store has.
"""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import unquote, urlsplit

from tests.lake.serving import QuietHandler, served


@dataclass(frozen=True, slots=True)
class Request:
    """``path``: bucket and key, with the query. ``conditional``: it is to be done only if there is none."""

    method: str
    path: str
    conditional: bool

    @property
    def is_commit(self) -> bool:
        """Of Delta: the put of a version's file."""
        return self.method == "PUT" and "/_delta_log/" in self.path and self.path.endswith(".json")

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.path


@dataclass(frozen=True, slots=True)
class Fault:
    """``applied``: the store gets the request before it happens. ``status``: what is answered; None for a
    connection that is cut without an answer; 0 for the store's own answer. ``delay``: seconds before that.
    """

    status: int | None = 0
    applied: bool = True
    delay: float = 0.0
    code: str = "InternalError"


REFUSED = Fault(None, applied=False)
"""The connection is cut before the store hears of it."""
LOST = Fault(None)
"""The store does what was asked, and its answer is lost."""
LOST_AS_500 = Fault(500)
"""The same, and somebody on the way answers in its place."""


@dataclass(slots=True)
class Network:
    """``asked``: every request that came by, in order. ``unconditional``: it makes of the store one that does
    not know conditions."""

    upstream: str
    endpoint: str = ""
    unconditional: bool = False
    asked: list[Request] = field(default_factory=list)
    _faults: list[tuple[Callable[[Request], bool], Fault]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def fail(self, wanted: Callable[[Request], bool], *faults: Fault) -> None:
        """What happens to the next requests of that kind, one each, in order."""
        with self._lock:
            self._faults += [(wanted, fault) for fault in faults]

    @property
    def faults_left(self) -> int:
        return len(self._faults)

    def calm(self) -> None:
        """No more faults."""
        with self._lock:
            self._faults.clear()

    def asks(self, request: Request) -> Fault:
        with self._lock:
            self.asked.append(request)
            for n, (wanted, fault) in enumerate(self._faults):
                if wanted(request):
                    del self._faults[n]
                    return fault
        return Fault()


@contextmanager
def network(upstream: str) -> Iterator[Network]:
    """Before a store at ``upstream``, on a free port."""
    made = Network(upstream)

    class Handler(_Handler):
        between = made

    with served(Handler) as made.endpoint:
        yield made


class _Handler(QuietHandler):
    between: Network

    def _handle(self) -> None:
        self.close_connection = True
        body = self._body()
        conditional = self.headers.get("if-none-match") == "*"
        fault = self.between.asks(Request(self.command, unquote(self.path), conditional))
        answer = self._forwarded(body) if fault.applied else None
        time.sleep(fault.delay)
        if fault.status is None:
            self._cut()
        elif fault.status or answer is None:
            text = f"<Error><Code>{fault.code}</Code><Message>as told</Message></Error>".encode()
            self._answer(fault.status or 503, [("content-type", "application/xml")], text)
        else:
            self._answer(*answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.between.upstream).netloc, timeout=30)
        try:
            left_out = {"connection", "expect", "transfer-encoding", "content-length"}
            if self.between.unconditional:
                left_out.add("if-none-match")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            connection.request(self.command, self.path, body, {**headers, "content-length": str(len(body))})
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
            if self.command == "HEAD":
                kept.append(("content-length", answer.getheader("content-length") or "0"))
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _cut(self) -> None:
        """A reset, as when a machine on the way goes down."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
