"""Operators of a schedule: one who is not always right, and a diligent one who answers what he is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from underway.core.model.plan import split_action
from underway.core.model.policy import Limit
from underway.core.model.state import TROUBLED
from underway.errors import InputError, Refused, StoreError
from underway.sim.stage import RUN, Stage


def operate(here: Stage, chance: random.Random, names: Sequence[str]) -> None:
    """One verb by chance; refusals are part of the game."""
    control, host = here.control, chance.choice(names)
    kinds = [stage.kind for stage in here.plan.stages]
    verbs: dict[str, Callable[[], object]] = {
        "pause": lambda: control.pause("chance"),
        "resume": lambda: control.resume("chance"),
        "hold": lambda: control.hold(host, "chance"),
        "hold-all": lambda: control.hold("*", "chance"),
        "release": lambda: control.release(host, "chance"),
        "limit-role": lambda: control.limit(here.plan.hosts[host].role, Limit(count=chance.randint(0, 3)), "chance"),
        "limit-total": lambda: control.limit("total", Limit(count=chance.randint(1, 3)), "chance"),
        "limit-domain": lambda: control.limit("domain", Limit(count=chance.randint(1, 2)), "chance"),
        "limit-budget": lambda: control.limit("budget", Limit(count=chance.randint(1, 2)), "chance"),
        "limit-prepare": lambda: control.limit("prepare", Limit(count=chance.randint(1, 3)), "chance"),
        "retry": lambda: control.retry(host, "chance", chance.choice(["", "rerun", "skip"])),
        "approve": lambda: control.approve(chance.choice(kinds), "chance"),
        "finalize": lambda: control.finalize("chance"),
        "skip": lambda: control.skip(host, "chance"),
        "abort": lambda: control.abort("chance"),
    }
    rare = {"skip", "abort"}
    found = chance.choice(list(verbs))
    if found in rare and chance.random() < 0.8:
        return
    attempt(here, found, verbs[found])


def answer(here: Stage, late: bool) -> None:
    """What a diligent operator does once a minute: approve, answer, retry; ``late``: also lift whatever holds."""
    control = here.control
    seen = here.repository.snapshot(RUN)
    policy = seen.policy.policy if seen.policy else here.plan.policy
    for stage in here.plan.stages:
        if stage.kind in seen.approvals:
            continue
        if stage.point_of_no_return:
            attempt(here, "finalize", lambda: control.finalize("all are on the new release"))
        elif stage.approval or stage.kind in policy.approvals:
            attempt(here, "approve", lambda kind=stage.kind: control.approve(kind))  # type: ignore[misc]
    for name, machine in here.hosts.items():
        if machine.dead and not machine.awaited:
            bury(here, name)
    seen = here.repository.snapshot(RUN)
    for action, record in list(seen.actions.items()):
        if record.state not in TROUBLED or record.retry:
            continue
        host = split_action(action)[1]
        here.world.happened[f"asked-about-{record.state}"] += 1
        executing = {leg.on or host for leg in here.plan.pass_of(action).legs}
        strangers = [name for name in sorted(executing) if here.hosts[name].stranger]
        if strangers:
            say_replaced(here, strangers[0], host)
        elif any(here.hosts[name].damaged for name in executing):
            attempt(here, "skip", lambda host=host: control.skip(host, "its journal is lost"))  # type: ignore[misc]
        else:
            attempt(here, "retry", lambda host=host: control.retry(host, "look", "rerun"))  # type: ignore[misc]
    if late:
        _lift(here)


def bury(here: Stage, name: str) -> None:
    """What an operator does about a machine that died for good: another one in its place, and the word.

    The new one is there before the word, or after it, or without it for a while, which changes nothing.
    """
    host, chance = here.hosts[name], here.world.chance
    if here.leaves is not None and here.leaves.random() < 0.6:
        say_dropped(here, name, here.leaves)
        return
    when = chance.choice(["before", "after", "unsaid"])
    if when == "after":
        if say_replaced(here, name):
            host.awaited = True
            here.world.after(chance.uniform(1, 200), lambda: _install(here, name))
        return
    host.renew()
    if when == "before":
        say_replaced(here, name)
    else:
        here.world.happened["machine-unsaid"] += 1
        here.world.after(chance.uniform(1, 90), lambda: _say_late(here, name))


def say_replaced(here: Stage, name: str, waive: str = "") -> bool:
    """Say that another machine stands there; whether that is so. The machine is told first, as the command does.

    Where the word is refused for good, the new machine has the new release, and what is left (of ``waive``) is waived.
    """
    control, host = here.control, here.hosts[name]
    try:
        base = control.check_replace(name, rerun=True)
    except Refused as refusal:
        if "no return" in str(refusal):
            if host.dead:
                host.renew()
            attempt(here, "skip", lambda: control.skip(waive or name, "it has the new release"))
        return False
    except StoreError:
        return False
    if not host.dead and (not host.stand_in(base)):
        return False  # it has worked meanwhile: nothing had been heard of the one before
    if not attempt(here, "replace", lambda: control.replace(name, "it died", rerun=True)):
        return False
    here.oracle.witness.replaced(name)  # said again, where that changed nothing
    return True


def say_dropped(here: Stage, name: str, chance: random.Random) -> None:
    """Say that nobody takes the place of a dead machine; where that is refused for good, another one does.

    Now and then a machine is found for it after all, and takes its place; limits are percentages more often then.
    """
    control, host = here.control, here.hosts[name]
    if chance.random() < 0.5:
        role = here.plan.hosts[name].role
        share = Limit(percent=chance.choice([34, 50, 67]))
        attempt(here, "limit-role", lambda: control.limit(role, share, "a share of those that are left"))
    try:
        found = control.drop(name, "it died", off=True)
    except Refused as refusal:
        here.world.happened["verb-refused"] += 1
        if "believed to be at work" not in str(refusal) and "which is at work" not in str(refusal):
            host.renew()
            say_replaced(here, name)
        return
    except StoreError:
        return
    here.world.happened["verb-drop"] += 1
    host.awaited = True  # nobody asks after it any more
    for unit in found.held:  # as the command says
        attempt(here, "limit-role", lambda unit=unit: control.limit(unit, Limit(count=1), "none moved"))  # type: ignore[misc]
    if chance.random() < 0.3:
        here.world.after(chance.uniform(1, 200), lambda: _come_back(here, name))


def _come_back(here: Stage, name: str) -> None:
    host = here.hosts[name]
    if host.dead and attempt(here, "enrolled", lambda: here.control.enrolled(name)):
        host.renew()
        say_replaced(here, name)


def _say_late(here: Stage, name: str) -> None:
    say_replaced(here, name)


def _install(here: Stage, name: str) -> None:
    host = here.hosts[name]
    machine = here.repository.snapshot(RUN).machines[name]
    host.renew()
    here.oracle.witness.replaced(name)  # that was said before it came
    host.stand_in(machine.base)


def _lift(here: Stage) -> None:
    control = here.control
    seen = here.repository.snapshot(RUN)
    room = Limit(count=len(here.plan.hosts))
    if seen.run.state == "paused":
        attempt(here, "resume", lambda: control.resume("the horizon is passed"))
    for host in list(seen.holds):
        attempt(here, "release", lambda host=host: control.release(host, "the horizon is passed"))  # type: ignore[misc]
    for host in here.plan.hosts:
        if host in seen.health and not seen.health[host].healthy:
            here.health.set(host, True)
    policy = seen.policy.policy if seen.policy else here.plan.policy
    for service, most in policy.outage_budget.items():
        if seen.outage.get(service, 0.0) > most:
            more = Limit(count=int(seen.outage[service]) + 1)
            attempt(here, "limit-outage", lambda service=service, more=more: control.limit(  # type: ignore[misc]
                f"outage:{service}", more, "the horizon is passed"))  # fmt: skip
    if seen.run.state != "running":
        return
    # what was lowered may leave no room for what failed: an operator would see that
    if policy.limit != room:
        attempt(here, "limit-total", lambda: control.limit("total", room, "the horizon is passed"))
    if policy.prepare_limit != room and any(record.again for record in seen.actions.values()):
        attempt(here, "limit-prepare", lambda: control.limit("prepare", room, "the horizon is passed"))
    if policy.domain_limit not in (None, room):
        attempt(here, "limit-domain", lambda: control.limit("domain", room, "the horizon is passed"))
    out = any(record.again for record in seen.actions.values())  # more may be out than a role may lose: he is asked
    limits = {**(dict.fromkeys((*here.plan.roles, *here.plan.groups)) if out else {}), **policy.role_limits}
    for role, limit in limits.items():
        if limit != room and policy.group_limits.get(role) != room:
            attempt(here, "limit-role", lambda role=role: control.limit(role, room, "the horizon is passed"))  # type: ignore[misc]


def attempt(here: Stage, name: str, verb: Callable[[], object]) -> bool:
    """Speak a verb; count, and say, whether it was done or refused."""
    try:
        verb()
    except (InputError, Refused, StoreError):
        here.world.happened["verb-refused"] += 1
        return False
    here.world.happened[f"verb-{name}"] += 1
    return True
