"""Statements that read the rows of a table of MariaDB or MySQL by the texts of their keys.

Invariant: a key is asked for only where its text gives its value exactly: of a zero date it is another day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from cdc_platform.verify.truth import NotByKey
from cdc_platform.verify.truth.mariadb_types import MariaType

KEYS_AT_ONCE: Final = 500

Statement = tuple[str, Sequence[Any] | None]

_READS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), int),
    "decimal": Decimal,
    **dict.fromkeys(("char", "varchar", "uuid"), str),
}
"""As numbers where they are: MariaDB compares a number with a text as doubles."""


def by_key(
    head: str, columns: Sequence[tuple[str, str, MariaType]], keys: Sequence[tuple[Any, ...]]
) -> list[Statement]:
    """``head``: all before WHERE. ``columns``: of the key, each with its name in SQL and its type.

    Conditions on whole keys with OR between, which the range optimizer of every version knows. Raises
    NotByKey.
    """
    for name, _, kind in columns:
        if kind.name not in _READS:
            raise NotByKey(f"the key's column {name} of type {kind.name} is not asked for by its text")
    reads = [_READS[kind.name] for _, _, kind in columns]
    one = " AND ".join(quoted.replace("%", "%%") + " = %s" for _, quoted, _ in columns).join("()")
    chunks = [keys[at : at + KEYS_AT_ONCE] for at in range(0, len(keys), KEYS_AT_ONCE)]
    return [
        (
            f"{head} WHERE ".replace("%", "%%") + " OR ".join([one] * len(chunk)),
            [read(value) for key in chunk for read, value in zip(reads, key, strict=True)],
        )
        for chunk in chunks
    ]
