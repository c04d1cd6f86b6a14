"""What hosts of a release are made of, as lists that other tools write: packages, environments, files, classes."""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

Kind = Literal["packages", "environments", "images", "classes", "settings"]

KINDS: dict[Kind, str] = {
    "packages": "package",
    "environments": "in environment",
    "images": "in image",
    "classes": "class",
    "settings": "setting",
}
"""Each kind of list, and what one line of it is called in a sentence."""


class Manifest(Value, frozen=True, kw_only=True):
    """``lists``: kind -> item -> what is there of it (a version, or a digest; several where hosts differ).

    An item of an environment or image is ``<name>:<item>``. A kind that nobody listed is absent: of it nothing is
    known. A setting's value is told by its digest alone.
    """

    lists: dict[Kind, dict[str, tuple[str, ...]]]
