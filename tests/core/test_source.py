from __future__ import annotations

import pytest
from pydantic import ValidationError

from cdc_platform.core.source import Source

SECRET = "mongodb://ann:s3cret@db/"
GIVEN = {"name": "shop", "uri": SECRET, "database": "shop", "collections": ["orders"]}


def test_a_source_shows_no_password() -> None:
    assert "s3cret" not in repr(Source.model_validate(GIVEN))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"partitions": 0}, "partitions"), ({"database": None}, "database"), ({"url": SECRET}, "url")],
)
def test_a_wrong_declaration_is_told_without_the_password(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Source.model_validate({**GIVEN, **wrong})

    assert named in str(refusal.value)
    assert "s3cret" not in str(refusal.value)
