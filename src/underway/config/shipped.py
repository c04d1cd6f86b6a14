"""Catalogues that come with the program: named in ``catalogue`` of ``cluster.yaml`` beside directories."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from underway.config.bases import Bases, Written
from underway.config.reading import MAX_SMALL_BYTES, read

HOME = Path(__file__).resolve().parent.parent / "catalogue"


def names() -> list[str]:
    """The names of the shipped catalogues."""
    return sorted(path.name for path in HOME.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def directory(text: str) -> Path | None:
    """The directory of the shipped catalogue called ``text``, or None."""
    return HOME / text if text in names() else None


def services(catalogue: str) -> dict[str, dict[str, Any]]:
    """The services of a shipped catalogue by name, each as one file would say it, with all that it extends.

    Raises ``FileProblems`` where a file is none; and ``KeyError`` for a catalogue that is not shipped.
    """
    if catalogue not in names():
        raise KeyError(catalogue)
    files = sorted((HOME / catalogue).glob("*.yaml"))
    documents = [read(path, str(path), MAX_SMALL_BYTES) for path in files]
    bases = Bases([Written(document, 0) for document in documents if "service" in document.value])
    return {
        found.written.name: copy.deepcopy({key: value for key, value in found.doc.value.items() if key != "extends"})
        for found in bases.resolve()
        if not found.written.abstract
    }
