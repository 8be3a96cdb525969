"""The folder that holds the lake: can it be written to, and does it keep what the commits rely on?

Invariant: no table is opened in a store that was not seen, by this process, to refuse the second of two puts
of one name. A store that takes both would let the second of two writers replace the first one's commit, and
rows would be lost without a word.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.lake.s3 import S3Access, S3Folder, client
from cdc_platform.lake.s3_errors import code, meaning, status
from cdc_platform.lake.store import Place

PROBE: Final = "_cdc_probe"
"""Name of the object that is put twice, below the lake's root. It stays: the next process needs one put."""

_ANSWER_S: Final = 5.0
"""Seconds that the probe waits for an answer: nobody writes yet, and somebody may be waiting."""

_SEEN: Final[set[tuple[str, str]]] = set()
_ONE_AT_A_TIME: Final = Lock()


def require_place(root: Place) -> None:
    """Make the lake's folder if it is not there, or ask the store. Cheap enough for every tick of a sensor.

    Raises Transient if the folder cannot be written to or the store does not answer, Terminal if the store
    refuses or cannot be used.
    """
    if isinstance(root, S3Folder):
        if not require_conditional_put(root):
            _require_answer(root)
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        allowed = os.access(root, os.W_OK | os.X_OK)
    except OSError as error:
        raise _unusable(root, str(error)) from error
    if not allowed:
        raise _unusable(root, "no permission to write")


def require_conditional_put(folder: S3Folder) -> bool:
    """Put one object twice on the condition that it is not there: the second one must be refused.

    Once for a process and a store; returns whether it was asked now. Raises as ``require_place``.
    """
    access, probe = folder.access(), folder.root / PROBE
    seen = (access.endpoint, str(probe))
    if seen in _SEEN:
        return False
    with _ONE_AT_A_TIME:
        if seen in _SEEN:
            return False
        s3 = client(access, _ANSWER_S)
        where = f"{folder.root}{f' at {access.endpoint}' if access.endpoint else ''}"
        try:
            if _put(s3, probe) and _put(s3, probe):
                raise Terminal(
                    "the store has no conditional put: it took two objects of one name, so two writers would "
                    "replace one another's commits",
                    where=where,
                    remedy="use a store that honours If-None-Match: Amazon S3, MinIO or Cloudflare R2, for "
                    "example; or a newer release of this one",
                )
            _require_region(s3, probe, access, where)
        except (ClientError, BotoCoreError) as error:
            raise meaning(error, where=where) from error
        _SEEN.add(seen)
    return True


def _put(s3: Any, probe: S3Folder) -> bool:
    """Whether the store took it."""
    try:
        s3.put_object(Bucket=probe.bucket, Key=probe.key, Body=b"", IfNoneMatch="*")
    except ClientError as error:
        if status(error) == 412 or code(error) == "ConditionalRequestConflict":
            return False
        raise
    return True


def _require_region(s3: Any, probe: S3Folder, access: S3Access, where: str) -> None:
    """boto3 finds a bucket of another region by itself, and so hides that the other libraries will not."""
    if access.endpoint:
        return
    actual = s3.head_bucket(Bucket=probe.bucket).get("BucketRegion", access.region)
    if actual != access.region:
        raise Terminal(
            f"the bucket is in {actual}, not in {access.region}",
            where=where,
            remedy=f"set AWS_REGION={actual}",
        )


def _require_answer(root: S3Folder) -> None:
    """Any answer will do but that the store is in trouble."""
    probe = root / PROBE
    try:
        client(root.access(), _ANSWER_S).head_object(Bucket=probe.bucket, Key=probe.key)
    except ClientError as error:
        if status(error) not in {403, 404}:
            raise meaning(error, where=str(root)) from error
    except BotoCoreError as error:
        raise meaning(error, where=str(root)) from error


def _unusable(root: Path, why: str) -> Transient:
    return Transient(
        f"the lake's folder cannot be written to: {why}",
        where=str(root),
        remedy="check that the disk is mounted, that it has space, and CDC_LAKE_ROOT",
    )
