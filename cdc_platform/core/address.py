"""Where a PostgreSQL, MariaDB or MySQL server is, and who reads it: ``postgresql://user:password@host:5432``.

Invariant: a password leaves this only as ``password``. Neither the repr nor an error tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from cdc_platform.core.position import Engine

_PORTS: Final = {Engine.POSTGRESQL: 5432, Engine.MARIADB: 3306, Engine.MYSQL: 3306}

SCHEMES: Final[Mapping[Engine, tuple[str, ...]]] = {
    Engine.MONGODB: ("mongodb", "mongodb+srv"),
    Engine.POSTGRESQL: ("postgresql", "postgres"),
    Engine.MARIADB: ("mariadb", "mysql"),
    Engine.MYSQL: ("mysql",),
}
"""How a connection string of each engine begins."""

ENCRYPTION: Final[Mapping[Engine, tuple[str, ...]]] = {
    Engine.POSTGRESQL: ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    Engine.MARIADB: ("disable", "trust", "verify-ca", "verify-full"),
    Engine.MYSQL: ("disabled", "preferred", "required", "verify_ca", "verify_identity"),
}
"""``?sslmode=``, in the words of each engine's connector."""


@dataclass(frozen=True, slots=True)
class Address:
    """``database``: if it names one. ``sslmode``: one of ENCRYPTION, or empty: the driver's default."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = ""
    sslmode: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def require_of(engine: Engine, uri: str) -> None:
    """Raise ValueError if the connection string is not one of this engine's."""
    scheme = uri.partition("://")[0].lower()
    if scheme not in SCHEMES[engine]:
        wanted = " or ".join(f"{each}://" for each in SCHEMES[engine])
        raise ValueError(f"uri: a source with engine {engine} has one that begins with {wanted}")


def address(engine: Engine, uri: str) -> Address:
    """The parts of a connection string of PostgreSQL, MariaDB or MySQL. Raises ValueError, without values.

    User and password are percent-encoded in it where they hold what a URI does not allow, as ``@`` or ``/``.
    """
    require_of(engine, uri)
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise ValueError(
            "uri: its port is no number; is a character of the password not %-encoded?"
        ) from None
    if not parts.hostname or "," in parts.hostname or not parts.username:
        raise ValueError("uri: it names one user and one server: scheme://user:password@host:port")
    return Address(
        host=parts.hostname,
        port=port or _PORTS[engine],
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.removeprefix("/")),
        sslmode=_sslmode(engine, parts.query),
    )


def _sslmode(engine: Engine, query: str) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    sslmode = options.pop("sslmode", "")
    if options:
        raise ValueError(f"uri: {', '.join(sorted(options))} is not known; sslmode is the only option")
    if sslmode and sslmode not in ENCRYPTION[engine]:
        raise ValueError(f"uri: sslmode is one of {', '.join(ENCRYPTION[engine])}")
    return sslmode
