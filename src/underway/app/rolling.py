"""From an operator's words to a signed plan of a roll."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from underway.app.leaving import check_hosts
from underway.app.place import Session
from underway.config.load import Inputs
from underway.config.playbooks import load_playbook
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.service import Catalogue
from underway.core.nearest import nearest
from underway.core.rolls import Work, own_work, roll_plan
from underway.errors import InputError
from underway.render.seal import seal

TITLE = 80
"""Characters of a command that name it."""


def command_work(command: str, *, drained: tuple[str, ...], idempotent: bool, timeout: float) -> Work:
    """A line for the hosts' shell, as it was typed: no template is looked for in it."""
    if not command.strip() or any(ord(letter) < 32 and letter != "\t" for letter in command):
        raise InputError("--command: expected one line of text")
    short = command if len(command) <= TITLE else command[: TITLE - 1] + "…"
    task = {"name": "Run the command", "ansible.builtin.shell": "{{ roll_command }}"}
    return own_work(
        f"command {short}",
        "run the command",
        (task,),
        settings={"roll_command": command},
        drained=drained,
        idempotent=idempotent,
        timeout=timeout,
    )


def playbook_work(path: Path, *, drained: tuple[str, ...], idempotent: bool, timeout: float) -> Work:
    """The one play of a playbook. Raises FileProblems."""
    found = load_playbook(path)
    return own_work(
        f"playbook {found.name}",
        "do the playbook's tasks",
        found.tasks,
        handlers=found.handlers,
        variables=found.vars,
        drained=drained,
        idempotent=idempotent,
        timeout=timeout,
    )


def drained_services(cluster: Cluster, catalogue: Catalogue, names: Collection[str]) -> tuple[str, ...]:
    """Services by name, or all that can be drained for ``*``. Raises InputError for one that cannot."""
    able = [name for name, service in catalogue.services.items() if "drain" in service.phases]
    used = {service for role in cluster.roles.values() for service in role.services}
    if "*" in names:
        return tuple(name for name in able if name in used)
    for name in names:
        if name not in able:
            raise InputError(f"--drain {name}: there is no service of that name that has a drain{nearest(name, able)}")
    return tuple(names)


def make_roll(session: Session, inputs: Inputs, work: Work, hosts: Collection[str], policy: Policy | None) -> Plan:
    """The sealed plan of the files as they are."""
    session.place.prepare(inputs.cluster.name, inputs.store)
    check_hosts(session, inputs.cluster)
    return seal(roll_plan(inputs.cluster, inputs.catalogue, work, hosts, policy))
