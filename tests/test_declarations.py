"""What a person is told of a defs.yaml that cannot be taken: which field, and what is expected there."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.declarations import declared
from cdc_platform.platform import load_sources

HEAD = """type: cdc_platform.orchestrate.component.CdcSource
attributes:
  name: crm
  engine: mongodb
  database: crm
  collections: [accounts]
"""
URI = "  uri: mongodb://127.0.0.1:1/\n"


def refusal(folder: Path, text: str) -> Terminal:
    path = folder / "defs.yaml"
    path.write_text(text)
    with pytest.raises(Terminal) as refused:
        declared(path)
    assert refused.value.where == str(path)
    assert "pydantic" not in str(refused.value)
    return refused.value


def test_every_wrong_field_is_named_once_with_what_is_expected_there(tmp_path: Path) -> None:
    wrong = HEAD + "  formatz: [delta]\n  schedules: {prove: every day}\n  verify: {full_hours: -1}\n"
    assert refusal(tmp_path, wrong).what.splitlines() == [
        "4 fields are wrong:",
        "    uri: this field is missing",
        "    schedules.prove: it has to be a cron expression: minute, hour, day of the month, month, day of "
        "the week, or a word as @daily",
        "    verify.full_hours: Input should be greater than or equal to 0",
        "    formatz: there is no such field; formats is one",
    ]


def test_a_rule_of_the_platforms_own_is_told_in_its_words(tmp_path: Path) -> None:
    told = refusal(tmp_path, HEAD + "  uri: postgresql://u:secret@127.0.0.1:1\n")
    assert told.what.startswith("uri: ")
    assert "secret" not in str(told)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    name = f"CDC_TEST_{uuid.uuid4().hex}"
    told = refusal(tmp_path, HEAD + f'  uri: "{{{{ env.{name} }}}}"\n')
    assert told.what == f"the environment variable {name} is not set"
    assert told.remedy == f"set {name}"


def test_a_variable_that_is_not_set_may_have_something_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    name = f"CDC_TEST_{uuid.uuid4().hex}"
    path.write_text(HEAD + f"  uri: \"{{{{ env.{name} or 'mongodb://127.0.0.1:1/' }}}}\"\n")
    assert declared(path).uri == "mongodb://127.0.0.1:1/"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attributes:\n  name: crm\n   engine: mongodb\n", "line 3: mapping values are not allowed here"),
        ("a text\n", "it declares no source"),
        ("", "it declares no source"),
        ("type: x\n", "it declares no source"),
    ],
)
def test_a_file_that_is_no_declaration_says_so(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text).what


def test_two_files_that_declare_one_source_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "defs.yaml").write_text(HEAD + URI)
    with pytest.raises(Terminal, match="two files declare a source crm"):
        load_sources(tmp_path)
