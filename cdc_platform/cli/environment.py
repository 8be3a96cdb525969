"""Settings and sources, read from the environment once a command.

A file ``.env`` in the working directory counts, as it does for Dagster, so that both work on the same lake; a
variable that is set already wins over it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from dotenv import load_dotenv
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from cdc_platform.cli.failures import UsageError
from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.local.settings import StackSettings

S = TypeVar("S", bound=BaseSettings)


def settings() -> Settings:
    """Where the services and the lake are. Raises Terminal naming the variables that are wrong."""
    return read(Settings)


def stack_settings() -> StackSettings:
    """Ports and sizes of the local stack. Raises Terminal naming the variables that are wrong."""
    return read(StackSettings)


def read(kind: type[S]) -> S:
    """Settings of that kind. Raises Terminal naming the variables that are wrong."""
    load_dotenv(Path(".env"))
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        wrong = [
            f"{prefix}{'.'.join(map(str, each['loc'])).upper()} is {each['input']!r}: {each['msg'].lower()}"
            for each in error.errors()
        ]
        raise Terminal(
            "; ".join(wrong),
            where="the environment or the file .env",
            remedy="correct or unset it; .env.example describes every setting",
        ) from error


def unknown(kind: str, name: str, known: list[str], *, where: str) -> UsageError:
    """The error for a name that is not declared, with those that are."""
    return UsageError(
        f"there is no {kind} {name!r}",
        where=where,
        remedy=f"name one of: {', '.join(sorted(known)) or '(none is declared)'}",
    )
