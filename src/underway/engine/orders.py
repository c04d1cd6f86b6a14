"""From a claimed action to the order that an executor carries: bundle and signed ticket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from underway.core.model.base import canonical, digest
from underway.core.model.plan import Leg, Plan, split_action
from underway.core.model.state import ActionRecord, Machine, RunRecord
from underway.core.model.ticket import TICKET_TYPE, Ticket
from underway.engine.mirror import Mirror
from underway.executors.base import Order

TICKET_LIFE = 24 * 3600.0
"""Seconds for which a ticket is good: long enough for a slow pass and a weekend's pause to be told apart by the
token, which is what protects; the date only bounds how long a lost ticket lies about."""

Sign = Callable[[str, bytes], bytes]
"""(payload type, payload) -> signed DSSE envelope."""

Bundle = Callable[[Plan, str, int], dict[str, bytes]]
"""(plan, action id, leg number) -> files of the bundle (``render.seal.bundle``)."""


class OrderBook:
    """Makes orders of one run. The same claim always gives the same ticket, whichever coordinator makes it."""

    def __init__(self, plan: Plan, envelope: bytes, run: RunRecord, sign: Sign, bundle: Bundle) -> None:
        self._plan = plan
        self._envelope = envelope
        self._run = run
        self._sign = sign
        self._bundle = bundle

    def order(self, action: str, record: ActionRecord, mirror: Mirror, machines: Mapping[str, Machine]) -> Order:
        """The order for the leg of ``action`` that is open.

        ``mirror`` knows how far a host's journal was seen, ``machines`` which hosts are not the first of their name.
        """
        pass_id, target = split_action(action)
        legs = self._plan.passes[pass_id].legs
        leg = legs[record.leg]
        executing = leg.on or target
        machine = machines.get(executing)
        files = self._bundle(self._plan, action, record.leg)
        timeout = sum(self._plan.steps[step].timeout for step in leg.steps)
        ticket = Ticket(
            cluster=self._plan.cluster,
            run=self._run.id,
            action=action,
            leg=record.leg,
            token=record.token,
            host=executing,
            target=target,
            plan=self._run.plan,
            playbook=leg.playbook,
            digest=leg.digest,
            files=file_digests(files),
            steps=leg.steps,
            mode=self._run.mode,
            answers=record.answers,
            base=machine.base if machine is not None else 0,
            voided=record.voided,
            timeout=timeout,
            issued=record.claimed,
            expires=record.claimed + TICKET_LIFE,
        )
        return Order(
            run=self._run.id,
            action=action,
            leg=record.leg,
            token=record.token,
            host=self._plan.hosts[executing],
            target=target,
            ticket=self._sign(TICKET_TYPE, canonical(ticket)),
            plan=self._envelope,
            files=tuple(sorted(files.items())),
            since=mirror.since(executing),
            known=max(mirror.known(executing), 1 if took_before(legs, record) else 0),
            timeout=timeout,
        )


def took_before(legs: Sequence[Leg], record: ActionRecord) -> bool:
    """Whether the store alone says that the machine of the open leg took a ticket of this action before (F8)."""
    here = legs[record.leg].on
    return bool(record.leg == 0 and record.started) or any(leg.on == here for leg in legs[: record.leg])


def file_digests(files: dict[str, bytes]) -> dict[str, str]:
    """File name -> SHA-256 of its bytes."""
    return {name: digest(data) for name, data in sorted(files.items())}
