"""Lake tables: one contract for every adapter, and the facts about libraries that the adapters rely on."""

import pytest

pytest.register_assert_rewrite("tests.lake.contract")
