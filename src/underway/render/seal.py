"""Sealing a plan (every playbook's digest goes into it), and the files of one order."""

from __future__ import annotations

from underway.core.model.base import digest, replace
from underway.core.model.plan import Pass, Plan, split_action
from underway.errors import Drifted, Refused
from underway.render.names import INVENTORY, leg_file
from underway.render.playbook import by_hand_playbook, leg_playbook, rollback_playbook
from underway.render.variables import Variables, executing_host, host_vars, inventory, inventory_head


def seal(plan: Plan) -> Plan:
    """The plan with the file name and SHA-256 of every leg's playbook in it. Sealing again changes nothing.

    Raises ``InputError`` for content that cannot be rendered: names of variables, handlers, steps, rollbacks too.
    """
    variables = Variables(plan)
    passes: dict[str, Pass] = {}
    for pass_id, pass_ in plan.passes.items():
        legs = tuple(
            replace(leg, playbook=leg_file(pass_, number), digest=digest(leg_playbook(variables, pass_, number)))
            for number, leg in enumerate(pass_.legs)
        )
        passes[pass_id] = replace(pass_, legs=legs)
    for role in sorted(plan.rollback):
        rollback_playbook(variables, role)  # a way back that cannot be rendered is refused now, not when it is wanted
    for role in sorted(plan.by_hand):
        by_hand_playbook(variables, role)
    return replace(plan, passes=passes)


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
