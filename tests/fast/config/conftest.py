"""A valid cluster on disk that a test damages in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast.config.workspace import Workspace


@pytest.fixture
def files(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
