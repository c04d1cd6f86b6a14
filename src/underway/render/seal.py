"""Sealing a plan (every playbook's digest goes into it), and the files of one order."""

from __future__ import annotations

from underway.core.model.base import digest, replace
from underway.core.model.plan import Pass, Plan, split_action
from underway.errors import Drifted, Refused
from underway.render.names import INVENTORY, gate_file, leg_file, rollback_file
from underway.render.playbook import gate_playbook, gated, leg_playbook, rollback_playbook
from underway.render.variables import Variables, executing_host, host_vars, inventory, inventory_head


def seal(plan: Plan) -> Plan:
    """The plan with the file name and SHA-256 of every playbook in it. Sealing again changes nothing.

    Raises ``InputError`` for content that cannot be rendered: names of variables, handlers, steps.
    """
    variables = Variables(plan)
    passes: dict[str, Pass] = {}
    for pass_id, pass_ in plan.passes.items():
        legs = tuple(
            replace(leg, playbook=leg_file(pass_, number), digest=digest(leg_playbook(variables, pass_, number)))
            for number, leg in enumerate(pass_.legs)
        )
        passes[pass_id] = replace(pass_, legs=legs)
    return replace(plan, passes=passes, playbooks={name: digest(text) for name, text in others(variables).items()})


def others(variables: Variables) -> dict[str, bytes]:
    """Playbooks that are no legs, by file name: gates of rolling passes, rollbacks of roles."""
    plan = variables.plan
    found = {gate_file(pass_): gate_playbook(variables, pass_) for pass_ in plan.passes.values() if gated(plan, pass_)}
    found |= {rollback_file(role): rollback_playbook(variables, role) for role in plan.rollback if plan.rollback[role]}
    return dict(sorted(found.items()))


class Bundler:
    """Makes the files of orders. Keep one per run: what the hosts of a pass share is rendered once.

    Callable as ``bundler(plan, action, leg)``, the form that the engine takes.
    """

    def __init__(self) -> None:
        self._plan: Plan | None = None

    def _use(self, plan: Plan) -> Variables:
        if self._plan is not plan:
            self._plan, self._variables = plan, Variables(plan)
            self._heads: dict[frozenset[str], str] = {}
            self._playbooks: dict[str, bytes] = {}
        return self._variables

    def __call__(self, plan: Plan, action: str, leg: int) -> dict[str, bytes]:
        """File name -> bytes for a leg (from 0) of an action: its playbook and ``inventory.yml``.

        Raises ``KeyError`` for an action that is not of this plan, ``Refused`` if the plan is not sealed,
        and ``Drifted`` if this version of the program renders other bytes than were signed.
        """
        variables = self._use(plan)
        pass_ = plan.pass_of(action)
        found = pass_.legs[leg]
        if not found.playbook:
            raise Refused(f"pass {pass_.id}: the plan is not sealed, so nothing of it can be carried to a host")
        if found.playbook not in self._playbooks:
            self._playbooks[found.playbook] = _checked(
                found.playbook, leg_playbook(variables, pass_, leg), found.digest
            )
        host = split_action(action)[1]
        needs = variables.needs(pass_, leg)
        values = host_vars(variables, executing_host(plan, found, host), plan.hosts[host], needs)
        text = inventory(self._head(needs), plan, pass_, executing_host(plan, found, host), values)
        return {found.playbook: self._playbooks[found.playbook], INVENTORY: text}

    def gate(self, plan: Plan, action: str) -> dict[str, bytes]:
        """The files that ask whether the action's host is healthy; empty where its services have no gate."""
        pass_ = plan.pass_of(action)
        name = gate_file(pass_)
        if name not in plan.playbooks:
            return {}
        variables = self._use(plan)
        if name not in self._playbooks:
            self._playbooks[name] = _checked(name, gate_playbook(variables, pass_), plan.playbooks[name])
        steps = [step for leg in pass_.legs for step in leg.steps]
        return self._alone(variables, name, split_action(action)[1], steps, pass_)

    def rollback(self, plan: Plan, host: str) -> dict[str, bytes]:
        """The files that roll one host back; empty where its role has no way back."""
        role = plan.hosts[host].role
        name = rollback_file(role)
        if name not in plan.playbooks:
            return {}
        variables = self._use(plan)
        if name not in self._playbooks:
            self._playbooks[name] = _checked(name, rollback_playbook(variables, role), plan.playbooks[name])
        return self._alone(variables, name, host, list(plan.rollback[role]), None)

    def _alone(
        self, variables: Variables, name: str, host: str, steps: list[str], pass_: Pass | None
    ) -> dict[str, bytes]:
        plan = variables.plan
        needs = variables.needs_of(steps)
        values = host_vars(variables, plan.hosts[host], plan.hosts[host], needs)
        text = inventory(self._head(needs), plan, pass_, plan.hosts[host], values)
        return {name: self._playbooks[name], INVENTORY: text}

    def _head(self, needs: frozenset[str]) -> str:
        if needs not in self._heads:
            self._heads[needs] = inventory_head(self._variables.shared(needs))
        return self._heads[needs]


def bundle(plan: Plan, action: str, leg: int) -> dict[str, bytes]:
    """The files of one order (see ``Bundler``, which is the one to keep for many)."""
    return Bundler()(plan, action, leg)


def _checked(name: str, text: bytes, expected: str) -> bytes:
    found = digest(text)
    if found != expected:
        raise Drifted([f"{name}: this version of Underway renders {found[:12]}…, {expected[:12]}… was signed"])
    return text
