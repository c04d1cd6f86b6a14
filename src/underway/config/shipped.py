"""Catalogues that come with the program: named in ``catalogue`` of ``cluster.yaml`` beside directories."""

from __future__ import annotations

from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / "catalogue"


def names() -> list[str]:
    """The names of the shipped catalogues."""
    return sorted(path.name for path in HOME.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def directory(text: str) -> Path | None:
    """The directory of the shipped catalogue called ``text``, or None."""
    return HOME / text if text in names() else None
