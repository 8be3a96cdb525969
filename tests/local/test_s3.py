"""The S3 server of tests and trials."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from cdc_platform.local.ports import is_listening
from cdc_platform.local.s3 import serving


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_it_ends_with_the_block(tmp_path: Path, how: str) -> None:
    port = None
    try:
        with serving(tmp_path, random.SystemRandom()) as server:
            port = urlsplit(server.endpoint).port
            assert port is not None
            assert is_listening(port)
            if how == "raises":
                raise KeyError(how)
    except KeyError:
        assert how == "raises"
    assert port is not None
    assert not is_listening(port)


def test_of_conditional_puts_at_once_exactly_one_succeeds(tmp_path: Path) -> None:
    with serving(tmp_path, random.SystemRandom()) as server, ThreadPoolExecutor(8) as pool:
        server.make_bucket("race")
        client = server.client()

        def put(number: int, key: str) -> bool:
            try:
                client.put_object(Bucket="race", Key=key, Body=b"%d" % number, IfNoneMatch="*")
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 412  # noqa: PT017
                return False
            return True

        for turn in range(8):
            won = list(pool.map(put, range(8), [f"k{turn}"] * 8))
            assert won.count(True) == 1
            kept = client.get_object(Bucket="race", Key=f"k{turn}")["Body"].read()
            assert kept == b"%d" % won.index(True)


def test_by_hand_it_says_how_to_use_it(tmp_path: Path) -> None:
    port = random.SystemRandom().randrange(20_000, 32_000)
    argv = [sys.executable, "-m", "cdc_platform.local.s3", "--port", str(port), "--bucket", "lake"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        said = [started.stdout.readline().strip() for _ in range(3)]
        started.send_signal(signal.SIGTERM)
    assert f"AWS_ENDPOINT_URL_S3=http://127.0.0.1:{port}" in said
    assert any(line.startswith("AWS_ACCESS_KEY_ID=") for line in said)
