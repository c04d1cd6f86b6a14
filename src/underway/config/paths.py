"""Paths that files name: relative to the file, inside the cluster's directory (TRUST.md §4, 66)."""

from __future__ import annotations

from pathlib import Path

from underway.config.names import Wrong
from underway.config.words import shown


def inside(text: str, base: Path, root: Path) -> Path | Wrong:
    """The absolute path that ``text`` means in a file of directory ``base``.

    A relative one must lead, all links followed, to a place inside ``root``; an absolute one is the operator's word.
    """
    if not text or "\0" in text or len(text) > 1024:
        return Wrong("path", f"{shown(text)} is not a path")
    try:
        given = Path(text)
        if given.is_absolute():
            return Path(given.as_posix())
        found = (base / given).resolve()
        top = root.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle, before Python 3.13
        return Wrong("path", f"{shown(text)} cannot be followed: {type(error).__name__}")
    if found != top and top not in found.parents:
        hint = "move it there, or write an absolute path"
        return Wrong("path-outside", f"{shown(text)} leads out of the cluster's directory", hint)
    return found


def root_of(base: Path, root: Path) -> Path:
    """The directory that relative paths of a file in ``base`` may not leave: the cluster's, or ``base`` itself for a
    catalogue that lies elsewhere."""
    top, here = root.resolve(), base.resolve()
    return root if here == top or top in here.parents else base
