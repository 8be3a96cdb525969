"""What ``ExtractNewDocumentState`` leaves of an event is refused, and why is said (decision 0015)."""

import polars as pl
import pytest

from cdc_platform.core.model import RECORD_SCHEMA, Records
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.decode.mongodb import decode

DOCUMENT = b'{"_id": 1, "n": 2}'
WITH_FIELDS_ADDED = b'{"_id": 1, "n": 2, "__op": "u", "__deleted": "false", "__source_ts_ms": 1}'


@pytest.mark.parametrize("value", [DOCUMENT, WITH_FIELDS_ADDED])
def test_a_flattened_event_becomes_a_dead_letter_that_names_the_transform(value: bytes) -> None:
    frame = pl.DataFrame([(0, 0, 1, b'{"id":"1"}', value)], schema=RECORD_SCHEMA, orient="row")
    decoded = decode(Records(Stream("cluster", "topic", "id", 1), frame, {0: Range(0, 1)}))
    assert decoded.frame.is_empty()
    [(reason, remedy)] = decoded.letters.select("reason", "remedy").rows()
    assert "not a Debezium envelope" in reason
    assert "ExtractNewDocumentState" in remedy
