"""What pyiceberg raises, by what it means for the caller.

Invariants
- Conflict is said only where nothing of ours is in the table: pyiceberg then removes the manifests it wrote.
- Terminal is said where a person has to act: who may not, or asks for what is not there, will not succeed
  the next time either.
- All else is Transient and leaves open what became of a commit: the table's own offsets tell. That includes
  a commit whose answer was lost, cannot be read, or is a server's error (``CommitStateUnknownException``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from pydantic import ValidationError as UnreadableAnswer
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    OAuthError,
    RESTError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
    ValidationException,
)
from sqlalchemy.exc import DatabaseError, OperationalError, ProgrammingError, SQLAlchemyError

from cdc_platform.core.errors import CdcError, Conflict, Terminal, Transient

OVERTAKEN: Final = (CommitFailedException, ValidationException)
"""Another writer's commit came first; nothing of ours is there."""

NOT_ALLOWED: Final = (
    UnauthorizedError,
    ForbiddenError,
    AuthorizationExpiredError,
    OAuthError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
"""The catalog knows us, or does not, and refuses; or we have nothing to say who we are."""

UNREACHABLE: Final = (
    OSError,  # a store; and a connection, as requests has it
    SQLAlchemyError,
    RESTError,
    UnreadableAnswer,
    NotImplementedError,  # 501, which a proxy may say as well
    BotoCoreError,
    ClientError,
)
"""The catalog or the store did not answer, or not well: what became of a commit is not known."""

MISSING: Final = (NoSuchTableError, NoSuchNamespaceError)

_FORBIDDEN: Final = frozenset(
    {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"}
)


@contextmanager
def answering(failed: str, where: str, remedy: str) -> Iterator[None]:
    """Say what is raised inside in the platform's words.

    ``failed``: what did not happen, after "the Iceberg table". ``remedy``: where no better one is known.
    """
    try:
        yield
    except OVERTAKEN as error:
        raise Conflict(f"another writer committed first ({_text(error)})", where=where) from error
    except (*UNREACHABLE, *MISSING) as error:
        raise told(error, f"the Iceberg table {failed}", where, remedy) from error


def told(error: Exception, failed: str, where: str, remedy: str) -> CdcError:
    """The same in the platform's words."""
    what = f"{failed}: {type(error).__name__}: {_text(error)}"
    if _not_allowed(error):
        return Terminal(
            what, where=where, remedy="check the catalog's credentials and region, and their rights"
        )
    if isinstance(error, BadRequestError):
        return Terminal(
            what, where=where, remedy="the catalog takes no such request: check its configuration"
        )
    if isinstance(error, ProgrammingError) or type(error) is DatabaseError:
        return Terminal(
            what, where=where, remedy="the catalog's database is damaged or of something else: restore it"
        )
    return Transient(what, where=where, remedy=_better(error) or remedy)


def _not_allowed(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") in _FORBIDDEN
    return isinstance(error, NOT_ALLOWED)


def _better(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OperationalError) and "is locked" in text:
        return "another process holds the catalog's database: end it, or wait; nothing is lost"
    if isinstance(error, OperationalError) and ("readonly" in text or "unable to open" in text):
        return "let this user read and write the catalog's database and its folder; nothing is lost"
    if "No space left" in text or "disk is full" in text:
        return "make room: on the disk of the catalog, or of the table; nothing is lost"
    if isinstance(error, (TooManyRequestsError, ServiceUnavailableError)):
        return "the catalog is overloaded or being restarted: it is tried again; nothing is lost"
    return ""


def _text(error: Exception) -> str:
    """Without the statement that a database was asked, and its parameters."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().replace("\n", " ")[:500]
