"""``cdc``: the platform from a shell. A command parses, makes one call into the packages below, and prints.

Invariants
- Dagster is never imported, and nothing heavy before a command runs: ``cdc --help`` answers at once.
- With ``--json`` stdout holds exactly one JSON document, in failure too; everything else goes to stderr.
- An exception becomes a message and an exit code in ``failures`` and nowhere else.
"""

from cdc_platform.cli.app import app, main

__all__ = ["app", "main"]
