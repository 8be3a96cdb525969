"""What Dagster loads: everything declared under ``defs/``. Touches no network."""

import os
from pathlib import Path

import dagster as dg

from cdc_platform.logs import Format, LogSettings, configure


@dg.definitions
def defs() -> dg.Definitions:
    trace = os.environ.get("TRACEPARENT", "")
    configure(LogSettings(), program="dagster", usual=Format.JSON, traceparent=trace)
    return dg.load_from_defs_folder(path_within_project=Path(__file__))
