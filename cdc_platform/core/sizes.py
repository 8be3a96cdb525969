"""How large things may be, so that whatever one stage hands over the next can take."""

from __future__ import annotations

from typing import Final

MAX_DOCUMENT_BYTES: Final = 16 * 2**20
"""MongoDB's limit of a document, and of a change event with all the images in it."""

MAX_RECORD_BYTES: Final = 64 * 2**20
"""Largest record that Connect writes, Kafka keeps and the reader fetches. A change event of 16 MB is JSON
text inside JSON text there: about 45 MB if it is nothing but 64-bit integers, 50 MB if timestamps."""
