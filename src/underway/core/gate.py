"""The gate: when a host's slot is free again, when it failed after all, and when it is stuck. Pure.

Assumptions
    1. A health record says what the last check found and stands until it is written anew: whoever checks writes
       every change before the look, and one fresh answer after a host's work has finished.
    2. Deadlines are durations; ``started`` and ``finished`` were written by the clock that ``now`` is read from.
Invariants
    1. Where a check exists, a soaking action is done only by an answer that was given after its work finished (P7).
    2. Time alone never frees a slot there: it can only make an action fail or stuck, and both keep the slot.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from underway.core.model.policy import Policy
from underway.core.model.state import ActionRecord, Health
from underway.core.words import clean, clock, duration

DueKind = Literal["done", "failed", "stuck"]


class Due(NamedTuple):
    """What becomes true of an action at ``at`` if nothing else happens."""

    at: float
    kind: DueKind
    why: str


def due(record: ActionRecord, health: Health | None, policy: Policy, gated: bool) -> Due | None:
    """The next thing that time does to an action, or None. ``gated``: something checks the host's health."""
    if record.state in ("claimed", "running"):
        return _stuck(record, policy)
    if record.state == "soaking":
        return _gate(record, health, policy, gated)
    return None


def _stuck(record: ActionRecord, policy: Policy) -> Due | None:
    begun = record.started or record.claimed
    if record.stuck or policy.deadline <= 0:
        return None
    doing = f" at step {record.step}" if record.step else ""
    why = f"at work for more than {duration(policy.deadline)}{doing}: no progress; it keeps its slot"
    return Due(begun + policy.deadline, "stuck", why)


def _gate(record: ActionRecord, health: Health | None, policy: Policy, gated: bool) -> Due:
    done, soak = record.finished, duration(policy.soak)
    gives_up = done + policy.health_timeout
    if health is not None and not health.healthy:
        why = (
            f"not healthy {duration(policy.health_timeout)} after its work: {clean(health.detail, 200) or 'no detail'}"
        )
        return Due(gives_up, "failed", why)
    fresh = health is not None and health.checked > done
    if health is not None and fresh:
        since = max(health.since, done)
        return Due(since + policy.soak, "done", f"healthy since {clock(since)} UTC, for the soak time of {soak}")
    if gated:
        why = f"its health was not checked within {duration(policy.health_timeout)} after its work"
        return Due(gives_up, "failed", why)
    return Due(done + policy.soak, "done", f"soaked for {soak}; no probe watches it")
