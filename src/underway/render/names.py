"""Names in rendered files: file names, group names, tags. The runner computes the same tags (docs/architecture.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from underway.config.secrets import ALLOWED_ANSIBLE_VARS
from underway.core.model.plan import Pass, Plan
from underway.errors import InputError

INVENTORY = "inventory.yml"
"""The inventory of a bundle: one host and every variable of it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def slug(text: str) -> str:
    """Lower case; every run of characters other than ``a-z0-9`` is one ``_``; ends stripped (may be empty)."""
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def step_tag(step: str) -> str:
    """The tag of a step's block."""
    return "step_" + step.replace(".", "_")


def number_tag(number: int) -> str:
    """The tag of steps with a number: what an operator without Underway goes by, ``--tags number_3``."""
    return f"number_{number}"


def check_tag(step: str) -> str:
    """The tag of a step's check, run alone to learn whether the step has happened."""
    return "check_" + step.replace(".", "_")


def flush_tag(service: str, phase: str) -> str:
    """The tag of the flush after a section (one phase of one service)."""
    return f"flush_{service}_{phase}".replace(".", "_")


def raise_tag(handler: str) -> str:
    """The tag of the task that notifies a handler again."""
    return "raise_" + slug(handler)


def pass_slug(pass_: Pass) -> str:
    """``control-controller`` for the pass ``control/controller``."""
    return pass_.id.replace("/", "-")


def leg_file(pass_: Pass, number: int) -> str:
    """The playbook of a leg (legs count from 0)."""
    return f"{pass_slug(pass_)}-{number}.yml"


def rollback_file(role: str) -> str:
    """The playbook that undoes the passes of a role."""
    return f"rollback-{role}.yml"


def by_hand_file(role: str) -> str:
    """The playbook of a role that operators upgrade themselves."""
    return f"by-hand-{role}.yml"


def pass_group(plan: Plan, pass_: Pass) -> str:
    """The inventory group with the hosts of a pass, in their order."""
    return _group("pass", pass_.id, plan.passes)


def role_group(plan: Plan, role: str) -> str:
    """The inventory group with the hosts of a role."""
    return _group("role", role, plan.roles)


def service_group(service: str, services: Iterable[str]) -> str:
    """The inventory group with the hosts of a service."""
    return _group("service", service, services)


def _group(prefix: str, name: str, others: Iterable[str]) -> str:
    """A name that Ansible takes for a group. ``a-b`` and ``a.b`` would become one group; the later gets a number."""
    short = re.sub("[^a-z0-9_]", "_", name.lower())
    alike = sorted(other for other in others if re.sub("[^a-z0-9_]", "_", other.lower()) == short)
    number = alike.index(name) if name in alike else 0
    return f"{prefix}_{short}" if not number else f"{prefix}_{short}__{number + 1}"


def check_variable(name: str, place: str) -> None:
    """Raise ``InputError`` unless ``name`` may be the name of a variable; ``place`` says where it was found.

    ``config`` refuses such names with line and column; a plan may come from elsewhere, so they are refused here again.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{place}: {name!r} cannot be a variable: expected letters, digits and _")
    if name.startswith("underway_"):
        raise InputError(f"{place}: {name!r} is reserved: names that begin with underway_ are set by Underway")
    if name.lower().startswith("ansible_") and name not in ALLOWED_ANSIBLE_VARS:
        allowed = ", ".join(sorted(ALLOWED_ANSIBLE_VARS))
        raise InputError(f"{place}: {name!r} could redirect Ansible; of its own variables only {allowed} may be set")
