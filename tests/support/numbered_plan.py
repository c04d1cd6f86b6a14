"""A small lockstep of hosts on this machine whose tasks leave a line each: ``<host> <service> <word>``."""

from __future__ import annotations

from typing import Any

from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Catalogue, PhaseSpec, Release, Service, Step, Task
from underway.core.planner import build_plan


def say(service: str, word: str, **more: Any) -> Task:
    """A task that leaves a line in the file that the setting ``log`` names."""
    return {
        "name": f"Say {word} of {service}",
        "ansible.builtin.shell": f"echo {{{{ inventory_hostname }}}} {service} {word} >> {{{{ log }}}}",
        "changed_when": True,
        **more,
    }


def step(service: str, name: str, *tasks: Task, number: int | None = None, **more: Any) -> Step:
    """A step of ``upgrade``; with no tasks it leaves its name."""
    more.setdefault("idempotent", True)
    return Step(
        id=f"{service}.upgrade.{name}", name=name, service=service, phase="upgrade", number=number,
        tasks=tasks or (say(service, name),), **more,
    )  # fmt: skip


def gathering(service: str) -> Step:
    """It asks, and leaves a line; ``<service>_found`` has the answer, the number of times that it was asked so far."""
    ask: Task = {
        "name": f"Ask about {service}",
        "ansible.builtin.shell": f"echo {{{{ inventory_hostname }}}} {service} ask >> {{{{ log }}}}; echo yes",
        "changed_when": False,
        "register": f"{service}_found",
    }
    return step(service, "ask", ask, gathers=True)


def use(service: str, name: str, number: int) -> Step:
    """A step that needs what the service's ``ask`` has registered."""
    return step(service, name, say(service, f"{name}-{{{{ {service}_found.stdout }}}}"), number=number)


def numbered_plan(log: str) -> Plan:
    """Two roles: a batch of web hosts at number 0, stop and start at 10 and 12, the database in between."""
    services = {
        "web": Service(
            name="web", needs=("db",),
            phases={
                "upgrade": PhaseSpec(
                    steps=(
                        step("web", "roll", number=0, batch=True), gathering("web"), use("web", "stop", 10),
                        use("web", "start", 12),
                    )
                )
            },
        ),
        "db": Service(
            name="db",
            phases={"upgrade": PhaseSpec(steps=(step("db", "copy", number=11), step("db", "start", number=12)))},
        ),
        "agent": Service(name="agent", phases={"upgrade": PhaseSpec(steps=(step("agent", "swap", number=11),))}),
    }  # fmt: skip
    members = {"front": ("w1", "w2"), "back": ("d1",), "compute": ("c1",)}
    cluster = Cluster(
        name="numbers", release="1", strategy="lockstep",
        roles={
            "front": Role(name="front", services=("web",), limit=Limit(count=1)),
            "back": Role(name="back", services=("db",)),
            "compute": Role(name="compute", services=("agent",), operator_driven=True),
        },
        hosts={
            name: Host(name=name, role=role, connection="local") for role, names in members.items() for name in names
        },
        policy=Policy(allow_full_outage=True), settings={"log": log},
    )  # fmt: skip
    catalogue = Catalogue(services=services, releases={"2": Release(name="2", supports=("1",))})
    return build_plan(cluster, catalogue, "2", digests={})
