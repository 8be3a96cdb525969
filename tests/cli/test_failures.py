"""One clear message and one exit code for whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from cdc_platform.cli.failures import explain
from cdc_platform.core.errors import Conflict, SchemaRefused
from tests.cli.calling import cdc, declare, document
from tests.cli.conftest import Nowhere


def test_an_unknown_source_lists_the_known_ones(nowhere: Nowhere) -> None:
    for command in (("run", "shopp"), ("tables", "shopp"), ("connector", "apply", "shopp")):
        result = cdc("--sources", nowhere.sources, *command, env=nowhere.env)

        assert result.exit_code == 2
        assert result.stderr.startswith("error: there is no source 'shopp'\n  where: ")
        assert "what to do: name one of: ledger, shop" in result.stderr


def test_an_unknown_table_lists_the_known_ones(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "run", "shop", "--table", "order", env=nowhere.env)

    assert result.exit_code == 2
    assert "there is no table 'order'" in result.stderr
    assert "name one of: customers, orders" in result.stderr


@pytest.mark.parametrize("command", ["restart", "pause", "resume", "delete"])
def test_what_changes_one_connector_wants_to_know_which(nowhere: Nowhere, command: str) -> None:
    result = cdc("--sources", nowhere.sources, "connector", command, env=nowhere.env)

    assert result.exit_code == 2
    assert "name one of: ledger, shop" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("runn",), "Did you mean 'run'?"),
        (("run",), "Missing argument 'SOURCE'"),
        (("run", "shop", "--seconds", "soon"), "--seconds"),
        (("run", "shop", "--once", "--idle", "3"), "--once"),
        (("stack", "logs", "kafka", "--follow", "--json"), "--follow"),
        (("--sources", "/nowhere/at/all", "tables"), "--sources"),
    ],
)
def test_a_wrong_command_line_ends_with_2(words: tuple[str, ...], told: str) -> None:
    result = cdc(*words)

    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("runn",),
        ("run",),
        ("run", "nope"),
        ("run", "shop", "--seconds", "soon"),
        ("connector", "status", "nope"),
        ("--bogus",),
        ("--sources", "/nowhere/at/all", "tables"),
    ],
)
def test_with_json_a_wrong_command_line_is_one_document_too(words: tuple[str, ...]) -> None:
    result = cdc(*words, "--json")

    assert result.exit_code == 2
    assert set(document(result)["error"]) == {"what", "where", "remedy"}
    assert result.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("status",),
        ("restart", "shop"),
        ("pause", "shop"),
        ("resume", "shop"),
        ("delete", "shop", "--yes"),
    ],
)
def test_connect_that_does_not_answer_ends_with_3(nowhere: Nowhere, command: tuple[str, ...]) -> None:
    result = cdc("--sources", nowhere.sources, "connector", *command, env=nowhere.env)

    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"where: {nowhere.env['CDC_CONNECT_URL']}" in result.stderr
    assert "what to do: " in result.stderr
    assert "Traceback" not in result.stderr


def test_kafka_that_does_not_answer_ends_a_run_with_3(nowhere: Nowhere) -> None:
    result = cdc("--sources", nowhere.sources, "run", "shop", "--once", "--json", env=nowhere.env)

    assert result.exit_code == 3
    assert document(result)["error"]["where"] == f"Kafka at {nowhere.env['CDC_KAFKA_BOOTSTRAP']}"


def test_a_run_that_fails_tells_the_collector_of_its_logs_too(nowhere: Nowhere) -> None:
    env = {**nowhere.env, "CDC_LOG_FORMAT": "json", "TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"}

    result = cdc("--sources", nowhere.sources, "run", "shop", "--once", "--json", env=env)

    assert result.exit_code == 3
    told = orjson.loads(result.stderr)
    assert document(result)["error"] == {name: told[name] for name in ("what", "where", "remedy")}
    assert (told["event"], told["level"], told["source"]) == ("run failed", "error", "shop")
    assert (told["trace_id"], told["span_id"]) == ("a" * 32, "b" * 16)
    assert told["run_id"]


def test_debug_adds_the_traceback_and_changes_nothing_else(nowhere: Nowhere) -> None:
    words = ("--sources", nowhere.sources, "connector", "list", "--json")

    result = cdc(*words, env={**nowhere.env, "CDC_DEBUG": "1"})

    assert result.exit_code == 3
    assert "Traceback (most recent call last)" in result.stderr
    assert document(result) == document(cdc(*words, env=nowhere.env))


def test_a_wrong_setting_is_named_with_its_value() -> None:
    result = cdc("stack", "status", env={"CDC_KAFKA_PORT": "kafka"})

    assert result.exit_code == 1
    assert result.stderr.startswith("error: CDC_KAFKA_PORT is 'kafka': ")
    assert ".env.example" in result.stderr


def test_a_wrong_setting_in_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CDC_CONNECT_PORT=99999\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDC_CONNECT_PORT", "")  # so that it is taken back after the test
    monkeypatch.delenv("CDC_CONNECT_PORT")

    result = cdc("stack", "status")

    assert result.exit_code == 1
    assert "CDC_CONNECT_PORT is '99999'" in result.stderr


def test_a_declaration_that_is_wrong_is_named_by_its_file(nowhere: Nowhere) -> None:
    declare(Path(nowhere.sources), "broken", partitions=0)

    result = cdc("--sources", nowhere.sources, "tables", env=nowhere.env)

    assert result.exit_code == 1
    assert str(Path("broken", "defs.yaml")) in result.stderr


def test_a_password_from_the_environment_is_never_shown_whatever_it_holds(nowhere: Nowhere) -> None:
    declare(Path(nowhere.sources), "vault", uri="{{ env.VAULT_URI }}", partitions=0)
    for password in ('s3cret": {[', "s3cret#: -", "s3cret"):
        env = {**nowhere.env, "VAULT_URI": f"mongodb://ann:{password}@db/", "CDC_DEBUG": "1"}

        result = cdc("--sources", nowhere.sources, "tables", env=env)

        assert result.exit_code == 1
        assert "partitions" in result.stderr
        assert "s3cret" not in result.output


def test_no_declared_source_is_said(tmp_path: Path) -> None:
    result = cdc("--sources", str(tmp_path), "tables")

    assert result.exit_code == 1
    assert "no source is declared" in result.stderr


@pytest.mark.parametrize("command", [("stack", "reset"), ("connector", "delete", "shop")])
def test_what_is_not_confirmed_is_not_done(nowhere: Nowhere, command: tuple[str, ...]) -> None:
    refused = cdc("--sources", nowhere.sources, *command, env=nowhere.env, stdin="n\n")
    unanswered = cdc("--sources", nowhere.sources, *command, "--json", env=nowhere.env, stdin="")

    assert (refused.exit_code, unanswered.exit_code) == (1, 1)
    assert "error: not confirmed: nothing was done" in refused.stderr
    assert "--yes" in document(unanswered)["error"]["remedy"]


@pytest.mark.parametrize(
    ("error", "what", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (PermissionError(13, "Permission denied", "/lake"), "Permission denied", 1),
        (ValueError("mongodb://ann:s3cret@db/"), "ValueError: mongodb://ann:***@db/", 1),
        (Conflict("another writer was first"), "another writer was first", 3),
        (SchemaRefused("qty is text"), "qty is text", 1),
    ],
)
def test_whatever_is_raised_has_one_message_and_one_code(error: BaseException, what: str, code: int) -> None:
    message = explain(error)

    assert (message.what, message.code) == (what, code)
