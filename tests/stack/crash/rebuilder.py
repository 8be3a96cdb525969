"""A process that makes a table anew, or is killed meanwhile.

``CDC_TEST_SOURCE`` is the source as JSON; ``CDC_*`` say where everything is. Arguments: the table, and what
to make it from.
"""

from __future__ import annotations

import os
import sys

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.operate.rebuilding import Origin, rebuild

if __name__ == "__main__":
    source = Source.model_validate_json(os.environ["CDC_TEST_SOURCE"])
    print(rebuild(Settings(), source, sys.argv[1], Origin(sys.argv[2]), print))
