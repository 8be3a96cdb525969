"""A Connect worker for unit tests: a real HTTP server giving answers of a real worker (``answers``)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS = Path(__file__).parent / "answers"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def recorded(name: str, status: int = 200) -> Answer:
    return Answer(status, (ANSWERS / f"{name}.json").read_bytes())


def said(status: int, message: str) -> Answer:
    """An error in Connect's form."""
    return Answer(status, json.dumps({"error_code": status, "message": message}).encode())


@dataclass
class Worker:
    """``script``: request → its answers in turn, the last one for ever. ``asked``: requests in order."""

    url: str
    script: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def on(self, request: str, *answers: Answer) -> None:
        self.script[request] = list(answers)

    def answer(self, request: str, body: bytes) -> Answer:
        self.asked.append(request)
        self.bodies.append(body)
        answers = self.script.get(request, [said(404, f"nothing scripted for {request}")])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def serving() -> Iterator[Worker]:
    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = worker.answer(f"{self.command} {self.path}", body)
            self.send_response(answer.status)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Tests do not log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        worker = Worker(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield worker
        finally:
            server.shutdown()
            thread.join()
