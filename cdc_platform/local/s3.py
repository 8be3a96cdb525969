"""A real S3 server on this machine: moto, in a process of its own. For tests, and to try a lake in S3.

    python -m cdc_platform.local.s3 --port 29000 --bucket lake

Invariants
- What is put into it is gone when it ends: it keeps all in memory.
- Of several puts of one name on the condition that there is none yet, exactly one succeeds. Amazon promises
  that; moto looks first and puts then, so such puts are let in one at a time here.
- It ends with whoever started it, however that ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cdc_platform.local import process
from cdc_platform.local.guard import end_with_parent
from cdc_platform.local.ports import HOST, PortClaim, choose
from cdc_platform.local.process import Command, NotReadyError

NAME: Final = "s3"
ANY: Final = "local"
"""Key and secret: it takes all."""
REGION: Final = "us-east-1"

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class S3Server:
    """``endpoint``: http://host:port."""

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ANY,
            "AWS_SECRET_ACCESS_KEY": ANY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's."""
        return _client(self.endpoint)

    def make_bucket(self, name: str) -> None:
        """Does nothing if it is there."""
        self.client().create_bucket(Bucket=name)

    def require_ready(self) -> None:
        """Raise NotReadyError until it answers."""
        try:
            self.client().list_buckets()
        except (BotoCoreError, ClientError) as error:
            raise NotReadyError(str(error)) from error


@cache
def _client(endpoint: str) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=ANY,
        aws_secret_access_key=ANY,
        config=Config(
            connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}, max_pool_connections=20
        ),
    )


@contextmanager
def serving(folder: Path, chance: random.Random, timeout_s: float = 120.0) -> Iterator[S3Server]:
    """A server of one's own on a free port, its log in ``folder``, until the block is left.

    Raises Transient or Terminal if it does not start.
    """
    port = choose(PortClaim(NAME, "", 0), previous=None, taken=(), chance=chance)
    argv = (sys.executable, "-m", __name__, "--port", str(port), "--with-parent")
    record = process.start(Command(NAME, argv, {}, folder / f"{NAME}.log", port), f"s3-{os.getpid()}")
    try:
        server = S3Server(f"http://{HOST}:{port}")
        process.wait_ready(record, server.require_ready, timeout_s)
        yield server
    finally:
        process.stop(record, grace_s=2)


def _one_at_a_time(serve: Wsgi) -> Wsgi:
    """Conditional puts wait for one another; all others pass."""
    lock = Lock()

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ and "HTTP_IF_MATCH" not in environ:
            return serve(environ, start_response)
        with lock:
            return list(serve(environ, start_response))

    return guarded


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description="An S3 server on this machine; it keeps all in memory.")
    parser.add_argument("--port", type=int, default=29000)
    parser.add_argument("--bucket", action="append", default=[], help="bucket to make; may be repeated")
    parser.add_argument("--with-parent", action="store_true", help="end with the process that started it")
    given = parser.parse_args()
    if given.with_parent:
        end_with_parent()
    # Here, as whoever only wants its address need not have moto.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server(HOST, given.port, application, threaded=True, request_handler=MotoRequestHandler)
    address = S3Server(f"http://{HOST}:{given.port}")
    serve = Thread(target=server.serve_forever, daemon=True)
    serve.start()
    for name in given.bucket:
        address.make_bucket(name)
    for name, value in address.environment.items():
        print(f"{name}={value}", flush=True)
    serve.join()


if __name__ == "__main__":
    main()
