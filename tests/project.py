"""A Dagster code location for one source, given as JSON in ``CDC_TEST_SOURCE``: the component, without its
YAML.
"""

import os

import dagster as dg

from cdc_platform.core.source import Source
from cdc_platform.orchestrate.component import CdcSource

SOURCE = Source.model_validate_json(os.environ["CDC_TEST_SOURCE"])


@dg.definitions
def defs() -> dg.Definitions:
    return CdcSource(SOURCE).build_defs(None)
