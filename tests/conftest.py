"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure, and a failing example can be played again from what is printed.
settings.register_profile("tests", deadline=None, print_blob=True)
settings.load_profile("tests")
