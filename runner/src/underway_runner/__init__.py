"""The host's side of Underway: ticket check, lock, journal, one Ansible process per pass."""

from __future__ import annotations

__version__ = "0.1.0"

PROTOCOL = 1
"""The version of the protocol; a ticket of another one is refused before anything is changed."""

PLAN_TYPE = "application/vnd.underway.plan+json"
TICKET_TYPE = "application/vnd.underway.ticket+json"
