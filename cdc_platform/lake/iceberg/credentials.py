"""What pyiceberg is told of the lake's store.

Invariant: what a catalog says of a store by itself counts: its own configuration, its server's, and what the
server lends for one table. The lake's store fills in what they leave open, and never half of a pair of keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyiceberg.catalog import Catalog

from cdc_platform.lake.s3 import S3Folder
from cdc_platform.lake.store import Place

_OTHER_WAYS: Final = frozenset(
    f"{of}.{way}"
    for of in ("s3", "client")
    for way in ("access-key-id", "profile-name", "role-arn", "signer", "anonymous")
)
"""Properties by which pyiceberg comes by its credentials without ours."""

_CREDENTIALS: Final = frozenset({"s3.access-key-id", "s3.secret-access-key", "s3.session-token"})


def fill_in(catalog: Catalog, own: Mapping[str, str], root: Place | None) -> None:
    """Give the tables that are loaded from now on the credentials of now.

    ``own``: the properties that the catalog was opened with. Raises as ``S3Folder.access``.
    """
    if not isinstance(root, S3Folder):
        return
    given = root.access().iceberg
    left_out = _CREDENTIALS if own.keys() & _OTHER_WAYS else frozenset()
    filled = {name: value for name, value in given.items() if name not in left_out}
    catalog.properties = {**filled, **own}  # at once: other threads load tables meanwhile
