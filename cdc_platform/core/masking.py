"""Passwords stay out of what the platform says: its errors, its logs, what its commands print.

Invariant: every error masks its own text (``core.errors``), so that no caller has to remember to. What is
masked is known by its form, not by its value: a password nobody marked as one is masked too, and a short one
does not blot out every word it is part of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MASK: Final = "***"

# A password may hold what a URI does not allow there, such as "/" or "@": all up to the last "@" is masked.
# Bounded, so that a text of megabytes full of ":" costs no more than reading it.
_IN_URI: Final = re.compile(r"""(?<=://)([^\s/?#:@"<>]{0,256}:)[^\s"<>]{1,512}@""")
_SECRET: Final = r"[\w.-]*(?:password|passphrase|secret)|AWS_SESSION_TOKEN"
_NAME: Final = re.compile(rf"(?i){_SECRET}")
_NAMED: Final = re.compile(rf"""(?i)\b({_SECRET})(["']?\s*[=:]\s*)("[^"]*"|[^\s"',;&<>]+)""")


def masked(text: str) -> str:
    """``text`` without passwords: those within URIs, and those that follow a name such as ``password=``."""
    return _NAMED.sub(rf"\1\2{MASK}", _IN_URI.sub(rf"\1{MASK}@", text))


def masked_within(value: object) -> object:
    """The same for every text within what JSON can hold, and for what has a name such as ``password``."""
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {name: _under(name, each) for name, each in value.items()}
        case list() | tuple():
            return [masked_within(each) for each in value]
    return value


def _under(name: object, value: object) -> object:
    return MASK if isinstance(name, str) and _NAME.fullmatch(name) else masked_within(value)
