"""pyiceberg's client of a REST catalog, with what it needs to be relied on.

Invariants (measured on pyiceberg 0.12)
- Every request ends: pyiceberg sets no timeout, so that a catalog that accepts and never answers would hold
  a run for ever. Nothing is sent twice here, but after a new token (401, 419): the callers try again.
- A refusal is told only of a commit that is not there. A gateway that loses the answer to a commit and sends
  it again gets 409 for it; pyiceberg would take that for another writer's commit, and remove the manifests
  of a snapshot that the table has.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import AddSnapshotUpdate, TableRequirement, TableUpdate
from requests import Session

CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0
"""Between two bytes of an answer. A commit takes a catalog as long as its own store and locks do."""


class BoundedRestCatalog(RestCatalog):
    """``connect-timeout-s`` and ``answer-timeout-s`` among its properties change the bounds."""

    def _create_session(self) -> Session:
        session = super()._create_session()
        bounds = (
            float(self.properties.get("connect-timeout-s", CONNECT_S)),
            float(self.properties.get("answer-timeout-s", ANSWER_S)),
        )
        session.request = partial(session.request, timeout=bounds)  # type: ignore[method-assign]
        return session

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """As pyiceberg's; a commit of ours that is refused although it is there is made."""
        try:
            answer: CommitTableResponse = super().commit_table(table, requirements, updates)
            return answer
        except CommitFailedException:
            ours = [each.snapshot.snapshot_id for each in updates if isinstance(each, AddSnapshotUpdate)]
            if not ours:
                raise
            newest = self.load_table(table.name())
            if any(newest.metadata.snapshot_by_id(each) is None for each in ours):
                raise
            location = {"metadata-location": newest.metadata_location}
            return CommitTableResponse(metadata=newest.metadata, **location)
