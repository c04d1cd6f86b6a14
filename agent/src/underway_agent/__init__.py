"""The side of a host that fetches its work: the link to a coordinator's mail, and what is done with an order."""

from __future__ import annotations

__version__ = "0.1.0"
