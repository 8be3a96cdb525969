"""The parts of an Arrow list, to build another one from.

Invariant: the offsets are counted from zero and count the items given beside them. Arrow takes no null mask
beside the offsets of a slice.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def parts(array: pa.ListArray | pa.LargeListArray) -> tuple[pa.Array, pa.Array]:
    """Offsets, of the array's own width, and the items."""
    first, last = array.offsets[0], array.offsets[-1]
    return pc.subtract(array.offsets, first), array.values[first.as_py() : last.as_py()]
