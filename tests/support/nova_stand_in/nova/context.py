"""Cells: two, as a small cloud has them. The records are in the second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

CELLS: list[str] = []


def get_admin_context() -> str:
    """Who asks."""
    return "admin"


def load_cells() -> None:
    """Fill ``CELLS``, once."""
    CELLS[:] = CELLS or ["cell0", "cell1"]


@contextmanager
def target_cell(context: str, cell: str) -> Iterator[str]:
    """Who asks, of which cell."""
    yield f"{context} in {cell}"
