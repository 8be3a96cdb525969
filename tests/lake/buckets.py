"""Ways to a store in S3, for tests."""

from __future__ import annotations

from cdc_platform.lake.s3 import ANSWER_S, S3Access
from cdc_platform.local.s3 import ANY, REGION


def access(endpoint: str, answer_s: float = ANSWER_S) -> S3Access:
    return S3Access(ANY, ANY, "", REGION, endpoint, answer_s)
