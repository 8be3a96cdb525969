from __future__ import annotations

import time

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.core.masking import masked, masked_within


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "mongodb://ann:s3cret@db:27017/?replicaSet=rs0 is down",
            "mongodb://ann:***@db:27017/?replicaSet=rs0 is down",
        ),
        ("mongodb+srv://ann:s3cret@db/", "mongodb+srv://ann:***@db/"),
        ("'mongodb://ann:it's@h1,h2/'", "'mongodb://ann:***@h1,h2/'"),
        ("mongodb://ann:s3/cr@et@db/", "mongodb://ann:***@db/"),
        ("http://ann:s3cret@connect:8083: no answer", "http://ann:***@connect:8083: no answer"),
        ("mongodb://h/?tlsCertificateKeyFilePassword=s3cret&x=y", None),
        ("authMechanismProperties=AWS_SESSION_TOKEN:s3cret", "authMechanismProperties=AWS_SESSION_TOKEN:***"),
        ('{"mongodb.password": "s3cret s3cret"}', '{"mongodb.password": ***}'),
        ("sasl.jaas.config=… password=s3cret;", "sasl.jaas.config=… password=***;"),
    ],
)
def test_a_password_is_masked_and_nothing_else(said: str, shown: str | None) -> None:
    assert "s3" not in masked(said)
    if shown is not None:
        assert masked(said) == shown


@pytest.mark.parametrize(
    "harmless",
    [
        "mongodb://127.0.0.1:27117/?replicaSet=rs0",
        "http://127.0.0.1:28083/connectors, asked by ann@example.com",
        "Kafka at 127.0.0.1:29092, topic shop.shop.orders 0:[17,42)",
        "correct the user, its password or authSource in uri",
        "MongoCredential{userName='ann', password=<hidden>}",
    ],
)
def test_what_holds_no_password_stays_as_it_is(harmless: str) -> None:
    assert masked(harmless) == harmless


def test_passwords_are_masked_within_nested_values() -> None:
    given = {"uri": ["mongodb://ann:s3cret@db/"], "mongodb.password": "s3cret", "rows": {"a": 1, "b": None}}

    assert masked_within(given) == {
        "uri": ["mongodb://ann:***@db/"],
        "mongodb.password": "***",
        "rows": {"a": 1, "b": None},
    }


def test_an_error_never_tells_a_password() -> None:
    uri = "mongodb://ann:s3cret@db/"

    error = Terminal(f"no answer from {uri}", where=uri, remedy=f"correct {uri}")

    assert "s3cret" not in f"{error} {error!r} {error.args} {error.what} {error.where} {error.remedy}"


def test_masking_a_large_text_takes_no_longer_than_reading_it() -> None:
    began = time.process_time()

    masked("://a:" * 200_000 + "x" * 1_000_000 + "password" * 100_000)

    assert time.process_time() - began < 5


def test_an_error_has_no_colours_of_a_terminal_in_it() -> None:
    assert str(Terminal("\x1b[31mno space\x1b[0m left", where="table")) == "no space left\n  where: table"
