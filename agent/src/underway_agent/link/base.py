"""The contract of a link. An error means no: whoever cannot ask finishes what is at work, and starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol


class LinkDown(Exception):
    """Nobody answered, or not sensibly; the text says who was asked. Says nothing of what was asked."""


class LinkRefused(Exception):
    """The other side answered that it will not: not enrolled, revoked, too far apart. The text says what to do."""


@dataclass(frozen=True)
class Found:
    """The coordinator's letter to this host, and what to ask with for a later one."""

    data: bytes
    mark: str


class Link(Protocol):
    """All raise LinkDown and LinkRefused."""

    pace: float
    """Seconds that the other side wants between two of our letters; it may change with every answer."""

    async def hello(self, envelope: bytes) -> None:
        """Say which host, agent and runner this is (signed)."""

    async def orders(self, mark: str, wait: float) -> Optional[Found]:
        """*May I start?* The letter, if it is another than that of ``mark``; None after ``wait`` seconds without."""

    async def blob(self, digest: str) -> bytes:
        """A plan or a file by its SHA-256, not yet compared with it."""

    async def report(self, envelope: bytes) -> None:
        """How things stand, *I am steady* included (signed)."""

    async def close(self) -> None:
        """Let go of connections."""
