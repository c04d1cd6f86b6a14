"""docs/importers.md is what scripts/importers_table.py makes of the fixtures today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fast.importers.tripleo_made import GOLDEN

SCRIPT = Path(__file__).parents[3] / "scripts" / "importers_table.py"


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"NOT RUN: no fixtures at {GOLDEN}")
def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("importers_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text() == script.page(), "run scripts/importers_table.py"
