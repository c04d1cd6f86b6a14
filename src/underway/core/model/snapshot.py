"""What was seen at one revision of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from underway.core.model.state import ActionRecord, ActionState, Approval, Health, Hold, Machine, RunRecord


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What another run that goes on has open on a host: its action there, and that one's state."""

    run: str
    action: str
    state: ActionState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision needs to know of the world, read at one revision.

    ``actions`` holds a record for every action that is not pending. ``health`` holds the last answer of the
    health checks per host; a host that was never asked is absent and counts as healthy before its turn, as
    unproven after. ``outage`` is the seconds of outage so far per service. ``machines`` has those that stand in the
    place of one that was replaced, by host, and the places of those that were dropped. ``elsewhere``: hosts on which
    another run of this cluster is at work, or in trouble. ``admission`` is the revision of the admission record that a
    commit of this decision must still find.
    """

    revision: int
    run: RunRecord
    actions: Mapping[str, ActionRecord] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    outage: Mapping[str, float] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)
    admission: int = 0

    def state(self, action: str) -> ActionState:
        """The state of an action: pending where no record exists."""
        record = self.actions.get(action)
        return record.state if record is not None else "pending"

    def dropped(self) -> dict[str, Machine]:
        """Hosts that an operator dropped, with his word: they are in no count."""
        return {host: machine for host, machine in self.machines.items() if machine.gone}
