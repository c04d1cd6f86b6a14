"""A check asks once and answers once; the sampler decides when. One method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Answer:
    """``ok``, or an ``error`` of few words ("refused", "status 503", "timeout", "tls: expired", "body").

    ``built``: seconds that what a probe made took to be ready; 0 where nothing was made, or it never was.
    """

    ok: bool
    error: str = ""
    status: int = 0
    built: float = 0.0


@runtime_checkable
class Check(Protocol):
    """The contract: never raises for a bad service; the caller bounds the time."""

    async def ask(self) -> Answer:
        """One request on a connection of its own."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...
