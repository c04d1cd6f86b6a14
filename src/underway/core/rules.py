"""The heart: who may start now, and for every host that may not, the one reason. A pure function; it can only hold.

Assumptions
    1. The snapshot was read at one revision, and a grant is committed only against the admission record of that
       revision: what could make it wrong since then makes the commit fail (TRUST §0, 3).
    2. The plan is the frozen inventory: hosts that are silent, held or failed are in it (D3). A health record stands
       until it is written anew; a host that cannot be asked has a record that says unhealthy.
    3. ``now`` is the clock that wrote ``claimed``, ``started`` and ``finished``.
    4. ``run.mode`` is not looked at: a rollback has a plan of its own, whose mode tells.

Invariants (each a property test in ``tests/fast/rules``; each row below has a mutant that they kill)
    I1  A grant never takes a host while the unavailable ones and it exceed the limit of its role, a group, its failure
        domain or the whole: |down ∪ {host}| <= limit. Down: at work, soaking, failed, unknown, unhealthy, or another
        machine that has to do again what the host had begun; a stuck action is at work. A limit of 0 means held; none
        stated means 1 for a role (P1, D1, D4).
    I2  No action starts before every action of the stages before it and of the passes it is ordered after is done or
        waived, and those that took a host out of service left it healthy; silent and held hosts included (P2, D2, D3).
    I3  A held host, or any host while ``*`` is held, gets no grant; nor does any while the run is not running (P5).
    I4  At the failure budget, or at a service's outage budget, nothing starts (P6). A budget of 0 is a budget of 1:
        the first failure halts; there is no way to have none at all.
    I5  Nothing but the record of the action frees its slot; the clock never does (P7). A verdict of this decision
        frees nothing yet: it is committed first, and the next look, which follows at once, refills the slot.
    I6  Every host of the plan has exactly one reason or one grant, and a host gets at most one grant.
    L2  If the run is not finished and nothing is granted, then something is at work, or time will change the answer
        (``wake``), or a reason names what an operator or a host must do.
    A decision depends on nothing but its arguments, and ``Decider`` gives the same ones with less work.

Choices
    - A host that is unhealthy before its turn is not started: it would hide whether the upgrade broke it. The
      operator makes it healthy, or waives it. A rollback starts it: what is undone may be why it is ill. An action
      that failed is started again only on the word *retry*; the host is counted already, so that adds nothing, but it
      does not start over an exceeded limit either: where all that are out wait so, an operator is asked.
    - A host that was replaced is out from the operator's word on, where a rolling pass of it had been claimed; where
      none had, the new machine is as any host before its turn: its health counts, and its preflight is done again.
    - A host that was dropped is in no count and no percentage, and gets no grant; what it has open in this run is
      waited for until that is waived: the word that drops it does so in the run that it is spoken to.
    - A host that was done and fell ill stops what is ordered after it, also the next stage. Not so while it has another
      action open (then it is that action's illness, and uses its slot), nor when the operator waived a part of its
      work: that is how to go on without a host that is lost.
    - Order in a pass: retries first, then the plan's order. Passes of a stage share the limits in the stage's order.
    - ``domains_at_once`` counts every domain with an unavailable host; hosts without a domain are not bound by it.
    - Stages that take nothing out of service are bound by ``prepare_limit`` alone; an unknown action keeps its place,
      and is tried again in it even where the limit was lowered meanwhile.
"""

from __future__ import annotations

from underway.core.decider import Changes, IncrementalDecider
from underway.core.model.decision import Decision, Reason
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.rulebook import Rulebook
from underway.core.rules_host import DOWN, HOST_ROWS
from underway.core.rules_run import IDLE_ROWS, PASS_ROWS, RUN_ROWS
from underway.core.rules_slot import DOMAIN_ROWS, SLOT_ROWS

RULES = Rulebook(
    host=HOST_ROWS,
    idle=IDLE_ROWS,
    run=RUN_ROWS,
    passes=PASS_ROWS,
    slots=SLOT_ROWS,
    domains=DOMAIN_ROWS,
    down=DOWN,
)
"""The table in force. Adding a rule adds a row to one of its sections."""


def decide(plan: Plan, snapshot: Snapshot, policy: Policy, now: float) -> Decision:
    """Who may start, who may not and why, which gates are passed. Never raises, never acts.

    ``now`` is Unix seconds. ``Decision.reasons`` is a dictionary of its own here.
    """
    return decide_with(RULES, plan, snapshot, policy, now)


def decide_with(rules: Rulebook, plan: Plan, snapshot: Snapshot, policy: Policy, now: float) -> Decision:
    """``decide`` by another table: for tests that take a row away."""
    return IncrementalDecider(rules, plan, policy).decide_whole(snapshot, now)


class Decider(IncrementalDecider):
    """``decide`` for one plan and policy over many snapshots: equal decisions, at the cost of what changed.

    Not thread-safe. After a change of policy make a new one.
    """

    def __init__(self, plan: Plan, policy: Policy) -> None:
        super().__init__(RULES, plan, policy)


__all__ = ["RULES", "Changes", "Decider", "Decision", "Reason", "Rulebook", "decide", "decide_with"]
