"""A topic's records as the rows that the changelog should have of them, for those who hold one against the
other."""

from __future__ import annotations

from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Records
from cdc_platform.replicate.commit import fit
from cdc_platform.replicate.replica import Replica
from cdc_platform.verify.topic import Heard

_PLACE: Final = [PARTITION, OFFSET]


def hear(replica: Replica, records: Records) -> Heard:
    """Decoded as replication decodes them, with the columns that the changelog has by now. Writes nothing.

    Raises CdcError for records that the table refuses.
    """
    known = replica.columns(replica.changelog.open(replica.stream))
    decoded = replica.decode(records, known, replica.rules)
    if decoded.refused is not None:
        raise decoded.refused
    rows = pl.DataFrame(stored(fit(known, decoded.frame, replica)))
    keys = [replica.decode.key_of(key) for key in decoded.letters["key"]]
    letters = decoded.letters.select(pl.Series(KEY, keys, pl.String), *_PLACE)
    return Heard(rows, letters, decoded.repairs.select(_PLACE), decoded.unsent)
