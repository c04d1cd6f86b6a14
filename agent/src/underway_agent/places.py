"""Where letters lie in a key-value server: below the mail's root, each alone under a path of its own.

The path of a host's letter ends with a word, so that no host's name is the beginning of another's path: rights and
watches are by beginnings.
"""

from __future__ import annotations

LETTER = "/letter"


def place(root: str, key: str) -> str:
    """The server's key of a letter."""
    return f"{root}/{key}{LETTER}"


def key_of(root: str, found: str) -> str:
    """The letter's key again."""
    return found[len(root) + 1 : -len(LETTER)]


def reads(root: str, host: str) -> list[str]:
    """The beginnings of what a host's agent must be able to read."""
    return [f"{root}/orders/{host}/", f"{root}/blobs/"]


def writes(root: str, host: str) -> list[str]:
    """The beginnings of what a host's agent must be able to write; nothing else of the server is its business."""
    return [f"{root}/reports/{host}/", f"{root}/agents/{host}/"]
