"""The ticket: a granted start in signed form, for one host, one leg, one token.

The runner (a distribution of its own) reads the same JSON; ``docs/reference/runner.md`` documents it.
"""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

PROTOCOL = 1
PLAN_TYPE = "application/vnd.underway.plan+json"
TICKET_TYPE = "application/vnd.underway.ticket+json"


class Ticket(Value, frozen=True, kw_only=True):
    """What one host may do now.

    ``host`` executes, ``target`` is the host that the action is about (``underway_target`` in its tasks). ``plan`` is
    the digest of the signed plan's payload bytes; ``playbook`` and ``digest`` name the bytes that will be executed
    and must be found in that plan. ``token`` is the fencing number: a host never accepts a lower one for an action
    than it has seen. ``answers`` are an operator's recorded words on steps that were interrupted or failed:
    ``rerun`` or ``skip``. ``base``: the number above which the journal of the host's present machine counts its
    lines, 0 for the first machine of its name. ``voided``: tokens of the action up to this one are void, as the machine
    that it was about has been replaced. ``reboots``: those of the steps that reboot the host; a runner that is too old
    for the field refuses the ticket, where it would take such a step for done before the machine went down.
    ``gathers``: those that only gather; a runner that is too old would not gather again what later tasks use.
    ``issued``/``expires`` are Unix seconds (a tolerance of five minutes; not a safety device).
    """

    protocol: int = PROTOCOL
    cluster: str
    run: str
    action: str
    leg: int
    token: int
    host: str
    target: str
    plan: str
    playbook: str
    digest: str
    steps: tuple[str, ...]
    files: dict[str, str] = {}  # name -> SHA-256 of every file of the order (variables differ per host)
    mode: Literal["upgrade", "rollback", "roll"] = "upgrade"
    answers: dict[str, Literal["rerun", "skip"]] = {}
    base: int = 0
    voided: int = 0
    reboots: tuple[str, ...] = ()
    gathers: tuple[str, ...] = ()
    timeout: float = 3600.0
    issued: float = 0.0
    expires: float = 0.0
