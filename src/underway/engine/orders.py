"""From a claimed action to the order that an executor carries: bundle and signed ticket."""

from __future__ import annotations

from collections.abc import Callable

from underway.core.model.base import canonical, digest
from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, RunRecord
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

    def order(self, action: str, record: ActionRecord, mirror: Mirror, snapshot: Snapshot) -> Order:
        """The order for the leg of ``action`` that is open.

        ``mirror`` knows how far a host's journal was seen, ``snapshot`` which machine stands there and what it did.
        """
        pass_id, target = split_action(action)
        legs = self._plan.passes[pass_id].legs
        leg = legs[record.leg]
        executing = leg.on or target
        machine = snapshot.machines.get(executing)
        seen = mirror.known(executing) or int(self._took_before(action, record, executing, snapshot))
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
            base=0 if machine is None else machine.base_for(record.token),
            voided=record.voided,
            reboots=tuple(step for step in leg.steps if self._plan.steps[step].reboot),
            gathers=tuple(step for step in leg.steps if self._plan.steps[step].gathers),
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
            known=seen,
            timeout=timeout,
        )

    def _took_before(self, action: str, record: ActionRecord, machine: str, snapshot: Snapshot) -> bool:
        """Whether the store alone says that a machine took a ticket in this run: its journal is not empty then (F8)."""
        if self._took(action, record, machine):
            return True
        own = (action_id(pass_id, machine) for pass_id in self._plan.passes)
        return any(self._took(name, snapshot.actions[name], machine) for name in own if name in snapshot.actions)

    def _took(self, action: str, record: ActionRecord, machine: str) -> bool:
        pass_id, target = split_action(action)
        on = [leg.on or target for leg in self._plan.passes[pass_id].legs]
        return machine in on[: record.leg] or bool(record.started and record.leg == 0 and on[:1] == [machine])


def file_digests(files: dict[str, bytes]) -> dict[str, str]:
    """File name -> SHA-256 of its bytes."""
    return {name: digest(data) for name, data in sorted(files.items())}
