"""Where lake tables lie: folders on disk or below a bucket of S3, and single files of theirs.

deltalake and polars read and write most of what there is. Here is what they leave: is there a table, one
small file, the end of a large one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, assert_never

import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError
from deltalake import DeltaTable

from cdc_platform.lake.s3 import S3Folder, s3_folder
from cdc_platform.lake.s3_errors import code, meaning, status

Place = Path | S3Folder
"""A folder, or a file in it: ``place / "name"``; ``str(place)`` is its address."""

_FOOTER: Final = 64 * 1024
"""Bytes at a file's end that hold most files' footers."""
_AT_ONCE: Final = 8
"""Files asked for at the same time: a store answers many as fast as one."""

T = TypeVar("T")
R = TypeVar("R")


def place_of(root: Path | str) -> Place:
    """The lake's root as it is set. Raises Terminal for an address that is neither a folder nor in S3."""
    return root.absolute() if isinstance(root, Path) else s3_folder(root)


def delta_options(place: Place) -> dict[str, str] | None:
    """``storage_options`` of deltalake, with the credentials of now."""
    return None if isinstance(place, Path) else place.access().delta


def scan_options(place: Place) -> dict[str, Any]:
    """Arguments of polars' readers besides the files."""
    if isinstance(place, Path):
        return {}
    return {"storage_options": place.access().polars, "credential_provider": None}


def is_delta(place: Place) -> bool:
    """Whether there is a Delta table. Of a long log no more than one name is asked for."""
    if isinstance(place, Path):
        return DeltaTable.is_deltatable(str(place))
    prefix = f"{place.key}/_delta_log/0000000000"  # every commit and checkpoint of the first ten billion
    found = _answer(place, lambda s3: s3.list_objects_v2(Bucket=place.bucket, Prefix=prefix, MaxKeys=1))
    return bool(found.get("KeyCount"))


def read(place: Place) -> bytes:
    """A small file. Raises FileNotFoundError if it is not there."""
    if isinstance(place, Path):
        return place.read_bytes()
    content: bytes = _answer(
        place, lambda s3: s3.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    )
    return content


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file, and the whole file's size in bytes."""

    data: bytes
    size: int


def tail(place: Place, count: int) -> Tail:
    """At most the last ``count`` bytes, in one request. Raises FileNotFoundError if it is not there."""
    match place:
        case Path():
            with place.open("rb") as file:
                size = file.seek(0, io.SEEK_END)
                file.seek(max(0, size - count))
                return Tail(file.read(), size)
        case S3Folder():
            return _answer(place, lambda s3: _tail(s3, place, count))
    assert_never(place)


def footer(place: Place) -> pq.FileMetaData:
    """Of a Parquet file."""
    if isinstance(place, Path):
        return pq.read_metadata(place)
    end = tail(place, _FOOTER)
    needed = int.from_bytes(end.data[-8:-4], "little") + 8
    if needed > len(end.data):
        end = tail(place, needed)
    return pq.read_metadata(io.BytesIO(end.data))


_SAID_OF_THE_STORE: Final = ("Generic S3 error", "object-store error", "AWS Error")
"""In what deltalake, polars and Arrow raise when the store does not answer, or not well."""


def unanswered(error: Exception) -> bool:
    """Whether it is the store that is in trouble, and nothing is known of the file."""
    return not isinstance(error, FileNotFoundError) and any(each in str(error) for each in _SAID_OF_THE_STORE)


def at_once(ask: Callable[[T], R], places: Iterable[T]) -> list[R]:
    """``ask`` of each, several at a time, in their order."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, places))


def _tail(s3: Any, place: S3Folder, count: int) -> Tail:
    try:
        found = s3.get_object(Bucket=place.bucket, Key=place.key, Range=f"bytes=-{count}")
    except ClientError as error:
        if status(error) != 416:  # of an empty file there is no end
            raise
        return Tail(b"", 0)
    whole = found.get("ContentRange", "").rpartition("/")[2]
    data = found["Body"].read()
    return Tail(data, int(whole) if whole else len(data))


def _answer(place: S3Folder, ask: Callable[[Any], R]) -> R:
    """Raises FileNotFoundError for a file that is not there; otherwise Transient or Terminal."""
    try:
        return ask(place.client())
    except ClientError as error:
        if status(error) == 404 and code(error) != "NoSuchBucket":
            raise FileNotFoundError(str(place)) from error
        raise meaning(error, where=str(place)) from error
    except BotoCoreError as error:
        raise meaning(error, where=str(place)) from error
