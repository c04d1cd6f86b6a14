"""The order of a run as playbooks that import the passes': ``site.yml`` and one per role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from underway.core.model.plan import Pass, Plan, Stage
from underway.errors import OrderImpossible
from underway.render.batches import sizes
from underway.render.names import leg_file
from underway.render.playbook import AWAITS_BOOT, SOAK
from underway.render.yamltext import block

PASSES = "passes"

_NOTE = "# Made by Underway: {what}. Order and limits are the plan's.\n"

APPROVED = "underway_approved"


def site(plan: Plan, role: str = "") -> bytes:
    """The playbook of the whole run, or of one role's passes only, in the plan's order."""
    entries: list[dict[str, Any]] = []
    for stage in plan.stages:
        passes = [found for found in in_order(plan, stage) if not role or found.role == role]
        if passes and stage.approval:
            entries.append(_approval(stage))
        for found in passes:
            if entries:
                entries.append(_barrier(found))
            entries += _entries(plan, found)
    text = "\n".join(block([entry], 0) for entry in entries) if entries else "[]\n"
    return (_NOTE.format(what=f"passes of the role {role}" if role else "the whole run") + "---\n" + text).encode()


def in_order(plan: Plan, stage: Stage) -> Iterator[Pass]:
    """The passes of a stage, each after those that it waits for, otherwise as listed.

    Raises ``OrderImpossible`` if they wait for each other.
    """
    left = list(stage.passes)
    done: set[str] = set()
    while left:
        ready = (name for name in left if not _waits(plan.passes[name], left))
        found = next(ready, None)
        if found is None:
            raise OrderImpossible([*left, left[0]], "passes")
        left.remove(found)
        done.add(found)
        yield plan.passes[found]


def _waits(pass_: Pass, left: Iterable[str]) -> bool:
    return any(edge.before in left for edge in pass_.after)


def _entries(plan: Plan, pass_: Pass) -> list[dict[str, Any]]:
    batches = sizes(plan, pass_)
    if not batches:
        return [_held(pass_)]
    soak = {SOAK: max(1, round(plan.policy.soak))} if pass_.rolling and plan.policy.soak > 0 else {}
    reboots = any(plan.steps[step].reboot for leg in pass_.legs for step in leg.steps)
    boots = {AWAITS_BOOT: True} if reboots else {}
    if len(pass_.legs) == 1 and not pass_.legs[0].on:
        values: dict[str, Any] = {**soak, **boots}
        if len(pass_.hosts) > 1:
            values["underway_serial"] = batches[0] if len(batches) == 1 else batches
        return [_import(f"Pass {pass_.id}", leg_file(pass_, 0), values)]
    found: list[dict[str, Any]] = []
    last = len(pass_.legs) - 1
    for host in pass_.hosts:
        for number, leg in enumerate(pass_.legs):
            where = f" on {leg.on}" if leg.on else ""
            values = {"underway_target": host} if leg.on else {"underway_hosts": host, **boots}
            values |= soak if number == last and not leg.on else {}
            found.append(_import(f"Pass {pass_.id}, {host}, leg {number}{where}", leg_file(pass_, number), values))
        if soak and pass_.legs[last].on:
            pause = {"name": "Soak", "ansible.builtin.pause": {"seconds": soak[SOAK]}}
            play = {"name": f"Soak {host} after {pass_.id}", "hosts": host, "gather_facts": False, "tasks": [pause]}
            found.append(play)
    return found


def _import(name: str, file: str, values: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "ansible.builtin.import_playbook": f"{PASSES}/{file}"}
    return {**entry, "vars": values} if values else entry


def _assert(name: str, hosts: str, that: str, otherwise: str) -> dict[str, Any]:
    task = {
        "name": name,
        "ansible.builtin.assert": {"that": that, "fail_msg": otherwise, "quiet": True},
        "run_once": True,
        "tags": ["always"],
    }
    return {"name": name, "hosts": hosts, "gather_facts": False, "tasks": [task]}


def _barrier(following: Pass) -> dict[str, Any]:
    """Ansible goes on with the hosts that are left; a plan does not."""
    return _assert(
        f"Begin {following.id} only if no host has failed",
        "all",
        "ansible_play_hosts_all | difference(ansible_play_hosts) | length == 0",
        f"{following.id} was not begun: hosts have failed, see above",
    )


def _approval(stage: Stage) -> dict[str, Any]:
    final = ", the point of no return" if stage.point_of_no_return else ""
    return _assert(
        f"Begin {stage.kind}{final} only when it was approved",
        "localhost",
        f"'{stage.kind}' in ({APPROVED} | default('')).split(',')",
        f"{stage.kind} waits for approval{final}: run again with -e {APPROVED}={stage.kind} when you want it",
    )


def _held(pass_: Pass) -> dict[str, Any]:
    return _assert(
        f"Begin {pass_.id}",
        "localhost",
        "underway_held is defined",
        f"{pass_.id}: the limit is 0, so that no host of it may move; what comes after has to wait",
    )


__all__ = ["APPROVED", "PASSES", "in_order", "site"]
