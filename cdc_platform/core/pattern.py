"""Names of collections and globs for them: ``*`` stands for any run of characters, ``?`` for one.

Invariant: a glob takes only names that reach Kafka unchanged, in the connector's filter as in ours, and never
MongoDB's own collections (``system.…``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import StringConstraints

_CARRIED: Final = "[A-Za-z0-9._-]"

Carried = Annotated[str, StringConstraints(pattern=rf"^{_CARRIED}+$")]
"""A name that reaches Kafka unchanged. Debezium 3.4 writes any other character of a topic's name as ``_``, so
two collections could share a topic; and it never streams a collection with a comma in its name."""

Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._*?-]+$")]
"""A carried name, or a glob for such names."""

_NOT_SYSTEM: Final = r"(?!system\.)"


def is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def expression(glob: str, character: str = _CARRIED) -> str:
    """The names a glob takes, as a regular expression that Python, Java and MongoDB understand alike.

    It holds no comma: Debezium's lists are separated by them.
    """
    special = {"*": f"{character}*", "?": character}
    return _NOT_SYSTEM + "".join(special.get(each) or re.escape(each) for each in glob)


def matches(globs: Sequence[str], name: str) -> bool:
    return any(re.fullmatch(expression(glob), name) for glob in globs)


def nearly_matches(globs: Sequence[str], name: str) -> bool:
    """Whether only a character that cannot be carried keeps the name from matching."""
    return not matches(globs, name) and any(re.fullmatch(expression(glob, "."), name) for glob in globs)
