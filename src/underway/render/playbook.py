"""Plan -> playbooks. The same plan gives the same bytes, and the same bytes run on one host and from the exported tree.

A playbook is one play. Its hosts default to the group of its pass, which in a bundle has one member and in the exported
tree all; ``underway_hosts`` and ``underway_serial`` narrow it. Tags are those of docs/architecture.md. Tasks go out as
written, ``notify`` apart (see ``handlers``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from underway.core.model.plan import Leg, Pass, Plan
from underway.core.model.service import Step, Task
from underway.errors import InputError
from underway.render.handlers import Handlers, check_notified, collect, rewrite
from underway.render.names import check_tag, flush_tag, number_tag, pass_group, raise_tag, role_group, step_tag
from underway.render.variables import Variables, content
from underway.render.yamltext import block

_NOTE = "# Made by Underway. Hosts run these bytes only: their SHA-256 stands in the signed plan.\n"

SOAK = "underway_soak"
"""Seconds of the pause after a batch. Only site.yml of the exported tree sets it; a run watches each host itself."""

AWAITS_BOOT = "underway_awaits_boot"
"""Whether a step that reboots waits for the host. Only site.yml of the exported tree sets it; in a run boots tell."""


def playbook(plan: Plan, pass_: Pass, leg: Leg) -> bytes:
    """The playbook of one leg. Raises ``InputError`` for content that cannot become one (see ``handlers``)."""
    return leg_playbook(Variables(plan), pass_, pass_.legs.index(leg))


def leg_playbook(variables: Variables, pass_: Pass, number: int) -> bytes:
    """The playbook of leg ``number`` (from 0) of a pass."""
    plan = variables.plan
    leg = pass_.legs[number]
    play: dict[str, Any] = {"hosts": _hosts(leg.on or pass_group(plan, pass_))}
    tasks: list[Task] = []
    if not leg.on and len(pass_.hosts) > 1:
        play["serial"] = "{{ underway_serial | default('100%') }}"
        tasks.append(_guard(plan))
    body, handlers = _body(variables, [plan.steps[step] for step in leg.steps])
    tasks += body
    if pass_.rolling and not leg.on and number == len(pass_.legs) - 1:
        pause: Task = {"name": "Soak", "ansible.builtin.pause": {"seconds": f"{{{{ {SOAK} }}}}"}}
        tasks.append({**pause, "when": f"{SOAK} is defined"})
    return _play(f"Pass {pass_.id}, leg {number}", play, tasks, handlers)


def rollback_playbook(variables: Variables, role: str) -> bytes:
    """The playbook that undoes what the rolling passes of a role did, host by host."""
    return _of_role(variables, role, variables.plan.rollback[role], f"Roll back {role}")


def by_hand_playbook(variables: Variables, role: str) -> bytes:
    """The playbook with which operators upgrade a role that they drive themselves, host by host (B12)."""
    return _of_role(variables, role, variables.plan.by_hand[role], f"Upgrade {role}, by operators")


def _of_role(variables: Variables, role: str, steps: Sequence[str], title: str) -> bytes:
    plan = variables.plan
    play: dict[str, Any] = {
        "hosts": _hosts(role_group(plan, role)),
        "serial": "{{ underway_serial | default(1) }}",
    }
    body, handlers = _body(variables, [plan.steps[step] for step in steps])
    return _play(title, play, [_guard(plan), *body], handlers)


def sections(steps: Sequence[Step]) -> dict[tuple[str, str], int]:
    """(service, phase) -> the position of its last step."""
    return {(step.service, step.phase): position for position, step in enumerate(steps)}


def _hosts(default: str) -> str:
    return f"{{{{ underway_hosts | default('{default}') }}}}"


def _body(variables: Variables, steps: Sequence[Step]) -> tuple[list[Task], Handlers]:
    plan = variables.plan
    services = list(dict.fromkeys(step.service for step in steps))
    handlers = collect(services, plan.handlers, plan.service_vars)
    tags = [step_tag(step.id) for step in steps]
    for tag in tags:
        if tags.count(tag) > 1:
            raise InputError(f"two steps of one pass have the tag {tag}: rename one of them")
    tasks = [_raise(name) for _, name, _ in handlers.tasks]
    last = sections(steps)
    late = _delayed(plan, steps, handlers)
    numbers = tuple(sorted({step.number for step in steps if step.number is not None}))
    notifying: set[tuple[str, str]] = set()
    names = _unique_names(steps)
    for position, step in enumerate(steps):
        section = (step.service, step.phase)
        if step.check is not None:
            tasks.append(_check(variables, step, names[position]))
        renamed = handlers.renamed.get(step.service, {})
        inner = [rewrite(task, renamed) for task in step.tasks]
        if step.reboot:
            inner.append(_await_boot(step))
        # every task is looked at: a wrong name must not hide behind the first good one
        if any([check_notified(step, task, handlers) for task in inner]):  # noqa: C419
            notifying.add(section)
        own = [number_tag(number) for number in ((step.number,) if step.number is not None else _joins(step, numbers))]
        tasks.append(_block(variables, step.service, names[position], [step_tag(step.id), *own], inner))
        due = handlers.of(step.service) or section in notifying
        if last[section] == position and due and section not in late:
            tasks.append(_flush(*section))
    scoped = tuple((service, name, _scope(variables, service, task)) for service, name, task in handlers.tasks)
    return tasks, Handlers(scoped, handlers.renamed)


def _joins(step: Step, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers whose steps use what an unnumbered one gathers: whoever goes by tags needs it with each."""
    return numbers if step.gathers else ()


def _delayed(plan: Plan, steps: Sequence[Step], handlers: Handlers) -> set[tuple[str, str]]:
    """Sections whose handlers run after a later section of the same phase, which shares one of them.

    Not where a service that needs this one is upgraded in between: what it needs must be back before.
    """
    ends = sections(steps)
    found = set()
    for (service, phase), end in ends.items():
        for (other, same), later in ends.items():
            if same != phase or later <= end or not handlers.shares(service, other):
                continue
            between = {step.service for step in steps[end + 1 : later + 1]} - {service}
            if not any(_needs(plan, name, service) for name in between):
                found.add((service, phase))
    return found


def _needs(plan: Plan, service: str, wanted: str) -> bool:
    """Whether a service needs another one, at any distance."""
    queue = [service]
    for name in queue:
        queue += [need for need in plan.needs.get(name, ()) if need not in queue]
    return wanted in queue[1:]


def _unique_names(steps: Sequence[Step]) -> list[str]:
    """Names of blocks: the steps', told apart by service and phase where two are called the same."""
    names = [step.name[:1].upper() + step.name[1:] for step in steps]
    return [
        f"{name} ({step.service}, {step.phase})" if names.count(name) > 1 else name
        for name, step in zip(names, steps, strict=True)
    ]


def _block(variables: Variables, service: str, name: str, tags: list[str], tasks: Sequence[Task]) -> Task:
    scope = variables.of_service(service)
    return {"name": name, "tags": tags, **({"vars": scope} if scope else {}), "block": list(tasks)}


def _scope(variables: Variables, service: str, task: Task) -> Task:
    scope = variables.of_service(service)
    return {**task, "vars": {**scope, **task.get("vars", {})}} if scope else task


def _check(variables: Variables, step: Step, name: str) -> Task:
    assert step.check is not None
    return _block(variables, step.service, f"Has it happened? {name}", ["never", check_tag(step.id)], [step.check])


def _await_boot(step: Step) -> Task:
    return {
        "name": "Wait until the host is back",
        "ansible.builtin.wait_for_connection": {"delay": 20, "timeout": int(step.timeout)},
        "when": f"{AWAITS_BOOT} is defined",
    }


def _flush(service: str, phase: str) -> Task:
    return {
        "name": f"Run handlers due after {phase} of {service}",
        "ansible.builtin.meta": "flush_handlers",
        "tags": ["always", flush_tag(service, phase)],
    }


def _raise(name: str) -> Task:
    return {
        "name": f"Raise handler {name} again",
        "ansible.builtin.debug": {"msg": "It was due when the pass was interrupted"},
        "changed_when": True,
        "notify": name,
        "tags": ["never", raise_tag(name)],
    }


def _guard(plan: Plan) -> Task:
    """In one host's run always true. In the exported tree: no further batch once the failure budget is used up."""
    budget = max(1, plan.policy.failure_budget)
    return {
        "name": "Go on only if hosts before this one have not failed",
        "ansible.builtin.assert": {
            "that": f"ansible_play_hosts_all | difference(ansible_play_hosts) | length < {budget}",
            "fail_msg": "Not started: hosts before this one have failed, see above",
            "quiet": True,
        },
        "tags": ["always"],
    }


def _play(name: str, play: dict[str, Any], tasks: Sequence[Task], handlers: Handlers) -> bytes:
    """The text of a play, an empty line before each task."""
    text = [_NOTE, "---\n", block([{"name": name, **play, "gather_facts": False}], 0)]
    for title, items in (("tasks", tasks), ("handlers", [task for _, _, task in handlers.tasks])):
        if items:
            text.append(f"\n  {title}:\n")
            text.append("\n".join(block([content(item)], 4) for item in items))
    return "".join(text).encode()
