"""The witness of the true world: what hosts really did, and whether they were allowed to; for the oracle.

Judged here, at the moment of each effect: P3 (a finished step never runs again, an interrupted one only if it may), P4
(fencing), P8 (what runs is what the plan says), TRUST.md I1, I3, I4, I6, I9. Nothing of the program's own records is
believed but the claims that were committed, and the words of operators in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from underway.core.model.plan import Pass, Plan, split_action
from underway.sim.hosts import Effect

Key = tuple[str, str, str]
"""(action, step, host that does it): a drain is one step at each of the balancers."""


@dataclass(slots=True)
class Execution:
    """The latest execution of a step: ``how`` it ended, ``open`` while it goes on."""

    token: int
    how: str = "open"
    machine: int = 0  # which machine of the host's name did it
    denied: bool = False  # its check said, after the interruption, that nothing was done


class Witness:
    """Follows effects as they happen; ``bad`` takes what must not be."""

    def __init__(self, plan: Plan, digest: Callable[[], str], bad: Callable[[str], None]) -> None:
        self._plan, self._digest, self._bad = plan, digest, bad
        self._steps = {
            name: [(number, leg.on, step) for number, leg in enumerate(work.legs) for step in leg.steps]
            for name, work in plan.passes.items()
        }
        self.begins = 0
        self.again = 0
        self.latest: dict[Key, Execution] = {}
        self.claims: dict[str, dict[int, dict[str, Any]]] = {}  # action -> token -> record as it was claimed
        self.skipped: set[tuple[str, str]] = set()  # (action, step): steps that an operator said had happened
        self.waived: set[str] = set()  # actions that an operator waived
        self.began: dict[str, str] = {}  # rolling action that has begun and not finished -> the host it is about
        self.void: dict[str, int] = {}  # action -> tokens up to this one are of a machine that was replaced
        self._machines: dict[str, int] = {}  # host -> how often another machine took its name
        self._said: set[str] = set()  # hosts that were said to be replaced, where the new machine has done nothing yet
        self._strangers: set[str] = set()  # hosts that are other machines, of which nobody has said so
        self._tokens: dict[tuple[str, str], int] = {}
        self._open: dict[str, Key] = {}

    # --- what the records say -------------------------------------------------------------------------------------

    def claimed(self, action: str, record: dict[str, Any]) -> None:
        """A claim was committed."""
        self.claims.setdefault(action, {})[record.get("token", 0)] = record
        for step, answer in record.get("answers", {}).items():
            if answer == "skip":
                self.skipped.add((action, step))

    def left(self, action: str, legs: int) -> str:
        """A step of the first ``legs`` legs that never really happened; empty if all did, or were waived by name."""
        pass_id, target = split_action(action)
        for number, on, step in self._steps[pass_id]:
            if number >= legs:
                break
            if not self._happened(action, step, on or target) and (action, step) not in self.skipped:
                return step
        return ""

    def _happened(self, action: str, step: str, host: str) -> bool:
        found = self.latest.get((action, step, host))
        return found is not None and found.how in ("end", "end-unheard") and found.token > self.void.get(action, -1)

    def voided(self, action: str, token: int) -> None:
        """An operator said that the machine which the action is about was replaced: nothing done for it counts."""
        self.void[action] = token
        self.began.pop(action, None)
        self.waived.discard(action)
        self.skipped = {(name, step) for name, step in self.skipped if name != action}

    # --- machines -------------------------------------------------------------------------------------------------

    def renewed(self, host: str, seen: bool) -> None:
        """Another machine has this name now; ``seen``: something that the one before did was heard of."""
        self._machines[host] = self._machines.get(host, 0) + 1
        if seen and host not in self._said:
            self._strangers.add(host)

    def replaced(self, host: str) -> None:
        """An operator said that another machine stands there, or will."""
        self._strangers.discard(host)
        self._said.add(host)

    def finished(self, action: str) -> None:
        """The records say that all its legs are finished, and so it was."""
        self.began.pop(action, None)

    # --- what hosts do --------------------------------------------------------------------------------------------

    def see(self, effect: Effect) -> None:
        """One effect, at its moment."""
        key = (effect.action, effect.step, effect.host)
        if effect.kind == "begin":
            self._begin(effect, key)
            return
        found = self.latest.get(key)
        if effect.kind == "check":
            if found is not None and found.how not in ("end", "end-unheard"):
                found.denied = True
            return
        if self._open.get(effect.host) == key:
            del self._open[effect.host]
        if found is not None and found.how == "open":
            found.how = effect.kind

    def _begin(self, effect: Effect, key: Key) -> None:
        self.begins += 1
        self._judge_ticket(effect)
        self._judge_repeat(effect, key)
        other = self._open.get(effect.host)
        if other is not None:
            self._bad(f"I4: {effect.host} began {effect.step} while {other[1]} of {other[0]} was at work there")
        self._open[effect.host] = key
        self.latest[key] = Execution(effect.token, machine=self._machines.get(effect.host, 0))
        pass_id, target = split_action(effect.action)
        for number, on, step in self._steps[pass_id]:
            if step == effect.step and number == effect.ticket.leg:
                break
            before = self._happened(effect.action, step, on or target)
            self._judge_gathered(effect, step)
            if not before and (effect.action, step) not in self.skipped:
                self._bad(f"I6: {effect.action} began {effect.step} although {step} had not happened")
        if self._plan.passes[pass_id].rolling and effect.action not in self.waived:
            self.began[effect.action] = target

    def _judge_gathered(self, effect: Effect, step: str) -> None:
        """What a step may use of one that gathers was gathered since its leg was begun or begun again (B15)."""
        wants = self._plan.steps[step].gathers and step in effect.ticket.steps
        found = self.latest.get((effect.action, step, effect.host))
        if wants and (found is None or found.token != effect.token) and (effect.action, step) not in self.skipped:
            self._bad(f"B15: {effect.action} began {effect.step} without what {step} gathers")

    def _judge_ticket(self, effect: Effect) -> None:
        ticket, action = effect.ticket, effect.action
        claim = self.claims.get(action, {}).get(effect.token)
        if claim is None:
            self._bad(f"I3: {effect.host} began {effect.step} of {action} under token {effect.token}, never claimed")
        # A balancer to which an old order comes late cannot know; the machine that the action is about must.
        if effect.token <= self.void.get(action, -1) and effect.host == split_action(action)[1]:
            self._bad(f"I3: {effect.host} began {effect.step} of {action} for a machine that was replaced")
        if effect.host in self._strangers:
            self._bad(f"I9: {effect.host} began {effect.step} as another machine, of which nobody had said so")
        self._said.discard(effect.host)
        known = self._tokens.get((effect.host, action), 0)
        if effect.token < known:
            self._bad(f"P4: {effect.host} began {effect.step} under token {effect.token}, {known} was known")
        self._tokens[effect.host, action] = max(known, effect.token)
        pass_id, target = split_action(action)
        work: Pass = self._plan.passes[pass_id]
        leg = work.legs[ticket.leg] if ticket.leg < len(work.legs) else None
        if leg is None or leg.steps != ticket.steps or effect.step not in ticket.steps:
            self._bad(f"P8: {effect.step} of {action} is not what leg {ticket.leg} of the plan says")
        elif (leg.on or target) != effect.host or ticket.host != effect.host or ticket.target != target:
            self._bad(f"P8: {effect.host} did a leg of {action} that is another host's")
        if ticket.plan != self._digest():
            self._bad(f"P8: {effect.step} of {action} ran under the digest of another plan")

    def _judge_repeat(self, effect: Effect, key: Key) -> None:
        last = self.latest.get(key)
        if last is None or last.machine != self._machines.get(effect.host, 0):
            return  # per machine: another one never did it
        if self._plan.steps[effect.step].gathers:
            return  # it changes nothing, and later tasks want its results anew
        if last.token <= self.void.get(effect.action, -1):
            return  # what it did was for a machine that was replaced
        self.again += 1
        what = f"{effect.step} of {effect.action}"
        if last.how == "end":
            self._bad(f"P3: {what} ran again after it had finished")
        elif last.how == "fail":
            if effect.token <= last.token:
                self._bad(f"P3: {what} ran again after it had failed, nobody had said so")
        elif last.how != "open" and not self._may_repeat(effect, last):
            self._bad(f"P3: {what} was interrupted and ran again, nobody had said so")

    def _may_repeat(self, effect: Effect, last: Execution) -> bool:
        step = self._plan.steps[effect.step]
        if step.check is not None and last.denied:
            return True
        if step.idempotent and step.check is None:
            return True
        claim = self.claims.get(effect.action, {}).get(effect.token, {})
        return bool(claim.get("answers", {}).get(effect.step) == "rerun" and effect.token > last.token)
