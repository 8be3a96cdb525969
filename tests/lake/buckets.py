"""Ways to a store in S3, for tests."""

from __future__ import annotations

from cdc_platform.lake.s3 import S3Access
from cdc_platform.local.s3 import ANY, REGION


def access(endpoint: str, key_id: str = ANY) -> S3Access:
    return S3Access(key_id, ANY, "", REGION, endpoint)
