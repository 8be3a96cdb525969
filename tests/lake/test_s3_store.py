"""Single files of a lake, on disk and in S3."""

from __future__ import annotations

import io
import random
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.lake.store import Place, Tail, at_once, footer, is_delta, read, tail


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: S3Folder) -> Place:
    return tmp_path if request.param == "disk" else bucket / "folder"


def put(place: Place, content: bytes) -> Place:
    if isinstance(place, Path):
        place.write_bytes(content)
    else:
        place.client().put_object(Bucket=place.bucket, Key=place.key, Body=content)
    return place


def test_a_file_and_its_end_are_read(folder: Place) -> None:
    file = put(folder / "a=b c%20é", b"0123456789")
    assert read(file) == b"0123456789"
    assert tail(file, 4) == Tail(b"6789", 10)
    assert tail(file, 99) == Tail(b"0123456789", 10)
    assert tail(put(folder / "empty", b""), 8) == Tail(b"", 0)


@pytest.mark.parametrize("ask", [read, lambda place: tail(place, 8), footer])
def test_a_file_that_is_not_there_is_said_so(folder: Place, ask: object) -> None:
    with pytest.raises(FileNotFoundError):
        ask(folder / "nothing")  # type: ignore[operator]


def test_footers_of_any_size_are_read(folder: Place) -> None:
    for columns in (3, 4_000):
        content = io.BytesIO()
        pl.DataFrame({f"a column of a long name {n}": [n] for n in range(columns)}).write_parquet(content)
        found = footer(put(folder / f"{columns}.parquet", content.getvalue()))
        assert found.num_columns == columns
        assert found.equals(pq.read_metadata(io.BytesIO(content.getvalue())))


def test_answers_come_in_the_order_of_the_questions(folder: Place) -> None:
    names = [str(n) for n in range(20)]
    random.Random(1).shuffle(names)
    files = [put(folder / name, name.encode()) for name in names]
    assert at_once(read, files) == [name.encode() for name in names]


def test_a_folder_without_a_log_is_no_table(folder: Place) -> None:
    put(folder / "file", b"x")
    assert not is_delta(folder)


def test_a_bucket_that_is_not_there_is_no_missing_file(bucket: S3Folder) -> None:
    elsewhere = S3Folder("no-such-bucket-here", "", (), bucket.access)
    with pytest.raises(Terminal, match="no such bucket"):
        read(elsewhere / "file")
