"""Whose signatures count in a cluster: its keys, how many must sign a plan, and which were revoked.

The runner (a distribution of its own) reads the same JSON; ``docs/reference/runner.md`` documents it.
"""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

TRUST_TYPE = "application/vnd.underway.trust+json"


class Key(Value, frozen=True, kw_only=True):
    """An Ed25519 key that counts. ``keyid`` is what envelopes call it; what tells keys apart is ``public`` (64
    hexadecimal digits, lower case). ``name`` is for people."""

    keyid: str
    use: Literal["plan", "ticket"]
    public: str
    name: str = ""


class RevokedKey(Key, frozen=True, kw_only=True):
    """One that counts no more, ever: since ``at`` (Unix seconds), by whose word, and why."""

    at: float
    by: str
    reason: str


class Trust(Value, frozen=True, kw_only=True):
    """The whole of what counts after change ``number``; 0 is what was there from the beginning.

    ``threshold``: how many of the plan keys must sign a plan; one ticket key always signs a ticket. ``change``: what
    was changed, in a sentence, at ``at`` (Unix seconds) by ``by``.
    """

    cluster: str
    number: int
    threshold: int
    keys: tuple[Key, ...]
    revoked: tuple[RevokedKey, ...] = ()
    at: float
    by: str
    change: str

    def of(self, use: str) -> tuple[Key, ...]:
        """The keys with a use, those that came last at the end."""
        return tuple(key for key in self.keys if key.use == use)
