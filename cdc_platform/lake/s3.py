"""A lake below a bucket of S3: where it is, and how each library is told to get at it.

Invariants
- Nothing here touches the network before the first table is needed. Credentials are boto3's: environment,
  profiles, single sign-on, roles of containers and machines. They are taken anew whenever a table is opened,
  and boto3 renews temporary ones before they end: a process may outlive them.
- Every library gets the same credentials, region and endpoint, written out: none of them goes through a chain
  of its own, which might end elsewhere.
- A commit of Delta is a conditional put. What would take its place (``AWS_S3_ALLOW_UNSAFE_RENAME``) is
  refused: with it the second of two writers replaces the first one's commit.
- Waiting is bounded: CONNECT_S to reach the store, ANSWER_S for an answer, ATTEMPTS times.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError

from cdc_platform.core.errors import Terminal
from cdc_platform.lake.s3_errors import meaning

UNSAFE: Final = "AWS_S3_ALLOW_UNSAFE_RENAME"
CONNECT_S, ANSWER_S, ATTEMPTS = 3, 30, 3
"""Seconds until a connection, and an answer, is given up, and how often a request is made."""

_LOOKED_UP_AGAIN_S: Final = 60.0
"""Credentials that do not renew themselves may be replaced in their file."""

_OF_AWS: Final = re.compile(r"https://s3[.-]?[a-z0-9.-]*\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True, slots=True)
class S3Access:
    """Credentials as they are now, and where the store is. ``endpoint``: empty for Amazon's own.

    ``answer_s``: seconds that an answer is waited for.
    """

    key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    region: str
    endpoint: str
    answer_s: float = ANSWER_S

    @property
    def delta(self) -> dict[str, str]:
        """``storage_options`` of deltalake."""
        return {
            **self._object_store,
            "aws_conditional_put": "etag",
            "max_retries": str(ATTEMPTS - 1),
            "retry_timeout": _span(ATTEMPTS * self.answer_s),
            "backoff_config.max_backoff": "2s",
        }

    @property
    def polars(self) -> dict[str, Any]:
        """``storage_options`` of polars, to be used without a credential provider."""
        return {**self._object_store, "max_retries": ATTEMPTS - 1}

    @property
    def iceberg(self) -> dict[str, str]:
        """Properties of pyiceberg's FileIO; polars takes them from a table that has them."""
        given = {
            "s3.access-key-id": self.key_id,
            "s3.secret-access-key": self.secret,
            "s3.session-token": self.token,
            "s3.region": self.region,
            "s3.endpoint": self.endpoint,
            "s3.connect-timeout": str(CONNECT_S),
            "s3.request-timeout": str(self.answer_s),
        }
        return {name: value for name, value in given.items() if value}

    @property
    def _object_store(self) -> dict[str, str]:
        given = {
            "aws_access_key_id": self.key_id,
            "aws_secret_access_key": self.secret,
            "aws_session_token": self.token,
            "aws_region": self.region,
            "aws_endpoint_url": self.endpoint,
            "allow_http": str(self.endpoint.startswith("http://")).lower(),
            "connect_timeout": _span(CONNECT_S),
            "timeout": _span(self.answer_s),
        }
        return {name: value for name, value in given.items() if value}


def _span(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


class Environment:
    """Access as boto3 finds it: once, and again when it may have changed. One is enough for a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._session: botocore.session.Session | None = None
        self._looked_up = 0.0

    def __call__(self) -> S3Access:
        """Raises Terminal if there are no credentials, or a setting is refused."""
        if os.environ.get(UNSAFE):
            raise Terminal(
                f"{UNSAFE} is set: two writers would replace one another's commits",
                where="the environment",
                remedy=f"remove {UNSAFE}; commits are conditional puts, which need no rename",
            )
        try:
            with self._lock:
                return self._found()
        except BotoCoreError as error:
            raise meaning(error, where="the environment") from error

    def _found(self) -> S3Access:
        session = self._session
        held = session.get_credentials() if session else None
        renews = isinstance(held, RefreshableCredentials)
        if session is None or not (renews or self._clock() - self._looked_up < _LOOKED_UP_AGAIN_S):
            session = self._session = botocore.session.Session()
            self._looked_up = self._clock()
            held = session.get_credentials()
        if held is None:
            raise Terminal(
                "no credentials for S3 were found",
                where="the environment",
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine "
                "a role",
            )
        now = held.get_frozen_credentials()
        return S3Access(now.access_key, now.secret_key, now.token or "", *_place_of(_region(session)))


def _region(session: botocore.session.Session) -> str:
    """boto3 itself does not know AWS_REGION, which every other library of Amazon's does."""
    given = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return str(given or "us-east-1")


def _place_of(region: str) -> tuple[str, str]:
    """Region and endpoint. A client knows the endpoint by all of boto3's settings, for one service too."""
    settings = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_CONFIG_FILE")
    return region, _endpoint(region, tuple(os.environ.get(name) for name in settings))


@lru_cache(maxsize=8)
def _endpoint(region: str, settings: tuple[str | None, ...]) -> str:
    """``settings``: what the answer depends on."""
    del settings
    client = botocore.session.Session().create_client(
        "s3", region_name=region, aws_access_key_id="any", aws_secret_access_key="any"
    )
    url = str(client.meta.endpoint_url)
    return "" if _OF_AWS.fullmatch(url) else url


ENVIRONMENT: Final = Environment()
"""The process's own."""


@dataclass(frozen=True, slots=True)
class S3Folder:
    """A folder of the lake. ``prefix``: the lake's root in the bucket, without slashes at its ends; may be
    empty. ``path``: from there on.

    ``access``: gives the access as it is now.
    """

    bucket: str
    prefix: str
    path: tuple[str, ...] = ()
    access: Callable[[], S3Access] = field(default=ENVIRONMENT, repr=False)

    def __truediv__(self, name: str) -> S3Folder:
        return S3Folder(self.bucket, self.prefix, (*self.path, name), self.access)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def key(self) -> str:
        return "/".join(each for each in (self.prefix, *self.path) if each)

    @property
    def root(self) -> S3Folder:
        """The lake's."""
        return S3Folder(self.bucket, self.prefix, (), self.access)

    def client(self) -> Any:
        """boto3's, for what no library does for us. Thread-safe."""
        return client(self.access())


_URL: Final = re.compile(
    r"s3a?://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9._=/-]*))?"
)


def s3_folder(url: str) -> S3Folder:
    """``s3://bucket/prefix``. Raises Terminal for anything else, and for a prefix with characters that the
    libraries write in different ways (spaces, ``%``, ``#``).
    """
    found = _URL.fullmatch(url)
    if not found:
        raise Terminal(
            f"{url} is no place in S3",
            where="CDC_LAKE_ROOT",
            remedy="write it as s3://<bucket>/<prefix>, with letters, digits and . _ = - / in the prefix",
        )
    return S3Folder(found["bucket"], (found["prefix"] or "").strip("/"))


_MAKING: Final = Lock()


@cache
def _maker() -> botocore.session.Session:
    """It reads S3's description once, which takes a tenth of a second. Not thread-safe."""
    return botocore.session.Session()


@lru_cache(maxsize=8)
def client(access: S3Access, answer_s: float | None = None) -> Any:
    """boto3's, for one access. Thread-safe, and kept with its connections."""
    with _MAKING:
        return _maker().create_client(
            "s3",
            region_name=access.region,
            endpoint_url=access.endpoint or None,
            aws_access_key_id=access.key_id,
            aws_secret_access_key=access.secret,
            aws_session_token=access.token or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=answer_s or access.answer_s,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                s3={"addressing_style": "path" if access.endpoint else "auto"},
                # Other stores than Amazon's do not know the checksums that are sent unasked since 2025.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
