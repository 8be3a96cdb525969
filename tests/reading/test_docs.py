"""The examples of docs/reading.md, one after another, on a table in each format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.model import Format
from cdc_platform.core.source import Source
from cdc_platform.reading import open_table
from tests.reading.shop import SOURCE, shop
from tests.replicate.events import created, deleted, updated

TEXT = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("stored", list(Format))
def test_the_examples_run_and_give_what_the_text_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Format
) -> None:
    made = shop(tmp_path, stored)
    made.append(created("a", v=1), created("b", v=1))
    made.merge()
    made.append(updated("a", v=2))
    made.merge()
    made.append(deleted("b"), created("c", v=1))
    made.merge()
    made.append(updated("c", v=2))
    monkeypatch.setenv("CDC_LAKE_ROOT", str(made.settings.lake_root))

    def declared(source: str | Source, table: str, **given: Any) -> Any:
        """The example's source is declared here, and each format has its turn."""
        assert (source, table) == ("shop", "orders")
        return open_table(SOURCE, table, format=stored)

    names: dict[str, Any] = {"open_table": declared}
    assert len(EXAMPLES) >= 5
    for example in EXAMPLES:
        exec(example.replace("import open_table", "import Table"), names)
    assert names["orders"].latest().select("_id", "v").sort("_id").collect().rows() == [("a", 2), ("c", 2)]
    assert names["state"].offsets == names["later"].offsets == names["batch"].offsets == {0: 6}
    assert names["rows"].height == 2
    assert names["later"].rows.collect().is_empty()
    assert set(names["changes"].rows["_key"]) == {'"a"', '"b"', '"c"'}
    assert isinstance(names["orders"].latest(), pl.LazyFrame)
