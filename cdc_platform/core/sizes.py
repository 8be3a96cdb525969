"""How large things may be, so that whatever one stage hands over the next can take."""

from __future__ import annotations

from typing import Final

MAX_DOCUMENT_BYTES: Final = 16 * 2**20
"""MongoDB's limit of a document, and of a change event with all the images in it."""

LARGE_ROW_BYTES: Final = 2**20
"""Rows of that many bytes in memory are merged one at a time, and their files are never put together. A merge
holds, about three times, every row of every file whose range of keys its own keys fall into (deltalake 1.6):
with files of one row that is the row it replaces, with files of ten it soon is the whole table."""

MAX_RECORD_BYTES: Final = 96 * 2**20
"""Largest record that Connect writes, Kafka keeps and the reader fetches. A change event of 16 MB is JSON
text inside JSON text there: 16 MB of plain text stay that, of 64-bit integers become 45 MB, of quotation
marks 64 MB; of nothing but control characters 112 MB, which is refused. More cannot be: Kafka brokers close
the connection over a request of 100 MiB (socket.request.max.bytes), and its producer then tries for ever."""

FILE_BYTES: Final = 64 * 2**20
"""Size of a file that compaction aims at: a merge rewrites whole files, so larger ones make merges dearer."""

FILE_MEMORY_BYTES: Final = 256 * 2**20
"""Size in memory that it stays below: a merge holds whole files, about three times (deltalake 1.6)."""
