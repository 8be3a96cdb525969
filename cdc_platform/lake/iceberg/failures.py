"""What pyiceberg raises, by what it means for the caller."""

from __future__ import annotations

from typing import Final

from pyiceberg.exceptions import CommitFailedException, RESTError, ValidationException
from sqlalchemy.exc import SQLAlchemyError

OVERTAKEN: Final = (CommitFailedException, ValidationException)
"""Another writer's commit came first; nothing of ours is there."""

UNREACHABLE: Final = (OSError, SQLAlchemyError, RESTError)
"""The catalog or the store did not answer, or not well: what became of a commit is not known."""
