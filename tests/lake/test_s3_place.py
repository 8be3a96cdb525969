"""A lake in S3 is written to only where the store keeps what commits rely on; what is wrong is said once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.model import Kind
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.place import PROBE, require_conditional_put, require_place
from cdc_platform.lake.s3 import UNSAFE, Environment, S3Access, S3Folder, s3_folder
from cdc_platform.lake.s3_errors import meaning
from cdc_platform.lake.store import place_of
from cdc_platform.local.s3 import S3Server
from tests.lake.buckets import access
from tests.lake.rows import STREAM
from tests.lake.s3_proxy import REFUSED, Fault, Network, Request, network


@pytest.fixture
def between(s3_server: S3Server) -> Iterator[Network]:
    with network(s3_server.endpoint) as made:
        yield made


@pytest.fixture
def through(bucket: S3Folder, between: Network) -> S3Folder:
    return S3Folder(bucket.bucket, bucket.prefix, (), lambda: access(between.endpoint))


def probing(request: Request) -> bool:
    return request.method == "PUT" and request.path.endswith(PROBE)


def refused(root: S3Folder) -> CdcError:
    with pytest.raises(CdcError) as raised:
        require_place(root)
    assert raised.value.where
    assert raised.value.remedy
    return raised.value


def test_the_second_put_of_one_name_is_refused_and_a_process_asks_once(
    between: Network, through: S3Folder
) -> None:
    assert require_conditional_put(through / "delta" / "shop" / "orders")
    puts = [request for request in between.asked if probing(request)]
    assert len(puts) == 2
    assert all(request.conditional for request in puts)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: require_conditional_put(through), range(4)))
    assert not any(again)
    assert len(between.asked) == 2


def test_where_the_probe_stands_already_one_put_is_enough(between: Network, bucket: S3Folder) -> None:
    require_place(bucket)
    elsewhere = S3Folder(bucket.bucket, bucket.prefix, (), lambda: access(between.endpoint))
    require_place(elsewhere)
    assert len(between.asked) == 1


def test_a_store_that_takes_both_puts_is_refused_before_anything_is_written(
    between: Network, through: S3Folder
) -> None:
    between.unconditional = True
    for _ in range(2):
        with pytest.raises(Terminal, match="no conditional put") as raised:
            DeltaLakeTable(through / "delta" / "t", Kind.CHANGELOG).open(STREAM)
        assert between.endpoint in raised.value.where
        assert "MinIO" in raised.value.remedy
    assert len(between.asked) == 4


def test_a_store_that_does_not_know_the_condition_is_refused(between: Network, through: S3Folder) -> None:
    between.fail(probing, Fault(501, applied=False, code="NotImplemented"), *[REFUSED] * 9)
    assert isinstance(found := refused(through), Terminal), found
    assert "If-None-Match" in found.what


@pytest.mark.parametrize(
    ("status", "code", "kind", "said", "remedy"),
    [
        (403, "AccessDenied", Terminal, "may not", "s3:PutObject"),
        (403, "InvalidAccessKeyId", Terminal, "access key", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", Terminal, "secret key", "AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", Transient, "have ended", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", Terminal, "clock", "clock"),
        (400, "AuthorizationHeaderMalformed", Terminal, "another region", "AWS_REGION"),
        (405, "MethodNotAllowed", Terminal, "refuses", "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_what_the_store_refuses_is_said_with_what_to_do(
    between: Network, through: S3Folder, status: int, code: str, kind: type[CdcError], said: str, remedy: str
) -> None:
    between.fail(probing, Fault(status, applied=False, code=code))
    found = refused(through)
    assert isinstance(found, kind)
    assert said in found.what
    assert remedy in found.remedy
    assert str(through) in found.where
    between.calm()
    require_place(through)


def test_a_bucket_that_is_not_there_is_named(s3_server: S3Server) -> None:
    root = S3Folder(f"none-{uuid.uuid4().hex}", "lake", (), lambda: access(s3_server.endpoint))
    found = refused(root)
    assert isinstance(found, Terminal)
    assert "no such bucket" in found.what
    assert root.bucket in found.where


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_a_store_that_cannot_be_reached_is_one_message_in_seconds(endpoint: str) -> None:
    started = time.monotonic()
    found = refused(S3Folder("bucket", "lake", (), lambda: access(endpoint)))
    assert isinstance(found, Transient)
    assert endpoint in found.where
    assert "AWS_ENDPOINT_URL" in found.remedy
    assert time.monotonic() - started < 20


def test_a_store_that_went_down_later_is_noticed(between: Network, through: S3Folder) -> None:
    require_place(through)
    require_place(through)
    between.fail(lambda _: True, *[REFUSED] * 3)
    assert isinstance(refused(through), Transient)
    require_place(through)


def test_a_store_that_is_busy_for_a_moment_is_asked_again(between: Network, through: S3Folder) -> None:
    between.fail(probing, Fault(503, applied=False, code="SlowDown"))
    require_place(through)


def test_of_several_processes_that_probe_at_once_none_takes_offence(
    between: Network, through: S3Folder
) -> None:
    conflict = Fault(409, applied=False, code="ConditionalRequestConflict")
    between.fail(probing, conflict)
    require_place(through)


def test_a_bucket_of_another_region_is_said_by_the_store() -> None:
    answer = {
        "Error": {"Code": "PermanentRedirect", "Message": "use eu-west-1"},
        "ResponseMetadata": {"HTTPStatusCode": 301},
    }
    found = meaning(ClientError(answer, "PutObject"), where="s3://bucket/lake")
    assert "AWS_REGION" in found.remedy


def test_unsafe_rename_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(UNSAFE, "true")
    with pytest.raises(Terminal, match=UNSAFE) as raised:
        Environment()()
    assert UNSAFE in raised.value.remedy


def test_commits_are_told_to_be_conditional() -> None:
    options = access("http://127.0.0.1:9").delta
    assert options["aws_conditional_put"] == "etag"
    assert UNSAFE.lower() not in {name.lower() for name in options}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Without anything of this machine."""
    nowhere = tmp_path_factory.mktemp("aws")
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return Environment()


def test_no_credentials_are_one_clear_message(environment: Environment) -> None:
    with pytest.raises(Terminal, match="no credentials") as raised:
        environment()
    assert "AWS_PROFILE" in raised.value.remedy


def test_a_profile_that_is_not_there_is_one_clear_message(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Terminal, match="nobody"):
        environment()


def test_the_environment_says_key_region_and_endpoint(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert environment() == S3Access("key", "secret", "", "us-east-1", "")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store:9000")
    found = Environment()()
    assert found == S3Access("key", "secret", "token", "eu-central-1", "http://store:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9001")
    found = Environment()()
    assert (found.region, found.endpoint) == ("eu-west-1", "http://store:9001")
    assert "secret" not in repr(found)
    assert "token" not in repr(found)


def test_a_key_that_was_replaced_in_its_file_is_taken_up(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("keys") / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    clock = [0.0]
    kept = Environment(lambda: clock[0])
    written = "[default]\naws_access_key_id = {}\naws_secret_access_key = secret\n"
    file.write_text(written.format("first"))
    assert kept().key_id == "first"
    file.write_text(written.format("second"))
    assert kept().key_id == "first"
    clock[0] = 61
    assert kept().key_id == "second"


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://lake", "lake", ""),
        ("s3://lake/", "lake", ""),
        ("s3://my.lake-1/a/b/", "my.lake-1", "a/b"),
        ("s3a://lake/a", "lake", "a"),
    ],
)
def test_an_address_names_bucket_and_prefix(url: str, bucket: str, key: str) -> None:
    found = s3_folder(url)
    assert (found.bucket, found.key) == (bucket, key)
    assert str(found / "delta" / "t") == "/".join(part for part in (f"s3://{bucket}", key, "delta/t") if part)
    assert (found / "delta").root == found


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///a",
        "s3://UPPER/a",
        "gs://lake/a",
        "s3://lake?x=1",
        "s3://lake/a b",
        "s3://lake/a%20b",
        "http://x",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(Terminal, match="no place in S3"):
        place_of(url)


def test_temporary_credentials_are_taken_at_each_opening(bucket: S3Folder) -> None:
    taken = []

    def renewing() -> S3Access:
        taken.append(threading.get_ident())
        return replace(bucket.access(), token=f"token-{len(taken)}")

    table = DeltaLakeTable(replace(bucket, access=renewing) / "t", Kind.CHANGELOG)
    table.open(STREAM)
    before = len(taken)
    table.open(STREAM)
    assert len(taken) > before
