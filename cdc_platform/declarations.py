"""The declarations of sources as files, ``defs/<source>/defs.yaml``.

Invariant: what is wrong with a file is told by its name, the field and what is expected there, never with a
value: one may be a password.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Never

import jinja2
import yaml
from pydantic import ValidationError

from cdc_platform.core import cron
from cdc_platform.core.errors import Terminal
from cdc_platform.core.naming import SYNONYMS
from cdc_platform.core.source import Source

CHECKED: Final = "mend the file, then: dg check defs"

_CRON: Final = (
    "a cron expression: minute, hour, day of the month, month, day of the week, or a word as @daily"
)


def declared(path: Path) -> Source:
    """What a file declares, ``{{ env.NAME }}`` filled in. Raises Terminal if it cannot be taken."""
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Terminal(f"{line}{error.problem or error}", where=str(path), remedy=CHECKED) from None
    attributes = given.get("attributes") if isinstance(given, Mapping) else None
    if not isinstance(attributes, Mapping):
        raise Terminal(
            "it declares no source: `attributes:` with the source's fields is missing",
            where=str(path),
            remedy="README shows a whole file; mend this one, then: dg check defs",
        )
    try:
        return Source.model_validate(_filled_in(attributes))
    except _NotSet as error:
        name = str(error)
        raise Terminal(
            f"the environment variable {name} is not set", where=str(path), remedy=f"set {name}"
        ) from None
    except ValidationError as error:
        raise Terminal(_wrong(error), where=str(path), remedy=CHECKED) from None


class _NotSet(Exception):
    """A variable's name."""


class _Variable(jinja2.Undefined):
    """Of the environment, and not set. ``{{ env.NAME or 'something' }}`` has something then."""

    def __str__(self) -> Never:
        raise _NotSet(self._undefined_name)


def _filled_in(value: object) -> object:
    """``{{ env.NAME }}`` in every text of a declaration.

    Not in the file as a whole: a password is no YAML, and what YAML cannot read is quoted in its error.
    """
    match value:
        case str():
            return jinja2.Environment(undefined=_Variable).from_string(value).render(env=dict(os.environ))
        case dict():
            return {key: _filled_in(each) for key, each in value.items()}
        case list():
            return [_filled_in(each) for each in value]
    return value


def _wrong(error: ValidationError) -> str:
    """Every field that cannot be taken, one a line."""
    told = [
        _field(".".join(map(str, each["loc"])), each["type"], each["msg"], each.get("ctx", {}))
        for each in error.errors(include_url=False, include_input=False)
    ]
    return told[0] if len(told) == 1 else "\n    ".join([f"{len(told)} fields are wrong:", *told])


def _field(name: str, kind: str, said: str, context: Mapping[str, object]) -> str:
    """``kind``, ``said``, ``context``: pydantic's."""
    match kind:
        case "extra_forbidden":
            close = get_close_matches(name, [*Source.model_fields, *SYNONYMS], n=1)
            return f"{name}: there is no such field{f'; {close[0]} is one' if close else ''}"
        case "missing":
            return f"{name}: this field is missing"
        case "string_pattern_mismatch" if context.get("pattern") == cron.PATTERN:
            return f"{name}: it has to be {_CRON}"
        case _:
            said = said.removeprefix("Value error, ")
            return f"{name}: {said}" if name else said
