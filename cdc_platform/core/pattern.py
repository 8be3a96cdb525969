"""Names of collections and tables, and globs for them: ``*`` stands for any run of characters, ``?`` for one.

Invariants
- A glob takes only names that reach Kafka unchanged, in the connector's filter as in ours, and never
  MongoDB's own collections (``system.…``).
- A table whose name does not is declared by its name, and known by what reaches Kafka of it (``carried``): in
  topics, lake tables, assets, files. So none of these has to know of any other character.
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

Named = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f*?]+$")]
"""A name as SQL databases allow them; with a ``*`` or ``?`` it would be a glob."""

Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._*?-]+$")]
"""A carried name, or a glob for such names."""

_ONE_UNIT: Final = 0xFFFF

_NOT_SYSTEM: Final = r"(?!system\.)"


def carried(name: str) -> str:
    """What Debezium 3.4 makes of a name in a topic: ``_`` for each UTF-16 unit that cannot be carried."""
    return re.sub(rf"[^{_CARRIED[1:]}", lambda found: "_" * (1 + (ord(found[0]) > _ONE_UNIT)), name)


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
