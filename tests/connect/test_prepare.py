from __future__ import annotations

import pytest

from cdc_platform.connect.prepare import prepare
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://ann:s3cr/et@db:1/",
        "mongodb://ann:s3cret@db:port/",
        "mongodb://ann:s3cr@et@db/",
        "mongodb://ann:s3cret@",
    ],
)
def test_a_connection_string_that_cannot_be_used_is_told_without_the_password(uri: str):
    source = Source(name="shop", uri=uri, database="shop", collections=("orders",))
    with pytest.raises(Terminal, match="connection string of source shop cannot be used") as refusal:
        prepare(source, patience=0.1)
    assert "s3c" not in str(refusal.value)
