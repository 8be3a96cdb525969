"""The declarations in docs/sources.md are what Dagster and the commands take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
import yaml

from cdc_platform.connect.config import connector_config
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

TEXT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
EXAMPLES = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def filled_in(attributes: dict[str, Any]) -> dict[str, Any]:
    uri = jinja2.Environment().from_string(attributes["uri"]).render(env={})
    return {**attributes, "uri": uri}


def test_every_engine_has_an_example() -> None:
    assert {each["attributes"].get("engine", "mongodb") for each in EXAMPLES} == set(Engine)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each["attributes"]["name"])
def test_an_example_is_a_source_with_a_connector(example: dict[str, Any]) -> None:
    assert example["type"] == "cdc_platform.orchestrate.component.CdcSource"
    Source.model_validate(example["attributes"])  # as Dagster reads it, before it fills in the environment
    source = Source.model_validate(filled_in(example["attributes"]))
    assert connector_config(source)["topic.prefix"] == source.name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each["attributes"]["name"])
def test_an_example_fits_the_schema_that_dg_checks_it_by(example: dict[str, Any]) -> None:
    jsonschema.validate(example["attributes"], Source.model_json_schema())
    neither = {
        name: value for name, value in example["attributes"].items() if name not in ("tables", "collections")
    }
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(neither, Source.model_json_schema())


def test_a_field_that_does_not_exist_fails_the_schema() -> None:
    with pytest.raises(jsonschema.ValidationError, match="tabels"):
        jsonschema.validate({**EXAMPLES[0]["attributes"], "tabels": []}, Source.model_json_schema())
