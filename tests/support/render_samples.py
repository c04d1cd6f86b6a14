"""A plan made by hand with everything that rendering must get right, for fast and service tests.

Three controllers behind a balancer (legs on another machine), three computes (one leg, limit 2 with a canary), a stage
that waits for approval. Two services call a handler the same and default one variable differently. Each task appends
``<host> <target> <word>`` to the file that the setting ``log`` names.
"""

from __future__ import annotations

from typing import Any

from underway.core.model.base import replace
from underway.core.model.cluster import Host
from underway.core.model.plan import Leg, Pass, Plan, RoleLimits, Stage
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Phase, Step, Task

CONTROLLERS = ("ctrl2", "ctrl1", "ctrl3")
COMPUTES = ("cmp3", "cmp1", "cmp2")


def say(name: str, word: str, **more: Any) -> Task:
    """A task that leaves a line in the log."""
    return {
        "name": name,
        "ansible.builtin.shell": f"echo {{{{ inventory_hostname }}}} {{{{ underway_target }}}} {word} >> {{{{ log }}}}",
        "changed_when": True,
        **more,
    }


def step(service: str, phase: Phase, name: str, *tasks: Task, check: Task | None = None) -> Step:
    """A step whose id follows from its name."""
    return Step(
        id=f"{service}.{phase}.{name.replace(' ', '-')}",
        name=name,
        service=service,
        phase=phase,
        tasks=tasks,
        idempotent=check is None,
        check=check,
    )


STEPS = (
    step("keystone", "prepare", "fetch", say("Fetch", "keystone-fetch")),
    step("keystone", "expand", "expand", say("Expand the schema", "keystone-expand")),
    step("keystone", "drain", "leave", say("Leave the balancer", "keystone-leave")),
    step(
        "keystone",
        "upgrade",
        "turn the link",
        say("Turn the link", "keystone-turn", notify="Restart api"),
        check={
            "name": "Look at the link",
            "ansible.builtin.command": "test -e {{ log }}.turned",
            "changed_when": False,
        },
    ),
    step("keystone", "upgrade", "tidy", say("Tidy", "keystone-tidy-{{ api_port }}")),
    step(
        "glance",
        "upgrade",
        "turn the link",
        {
            "name": "All of it",
            "block": [say("Turn its link", "glance-turn-{{ api_port }}", notify=["Restart api", "restarted"])],
        },
    ),
    step("keystone", "undrain", "join", say("Join the balancer", "keystone-join")),
    step("nova-compute", "upgrade", "swap", say("Swap", "nova-swap", notify="Restart agent")),
    step("nova-compute", "verify", "look", say("Look", "nova-look")),
    step("keystone", "contract", "contract", say("Contract the schema", "keystone-contract")),
    step("keystone", "rollback", "turn back", say("Turn the link back", "keystone-back", notify="Restart api")),
)

HANDLERS: dict[str, tuple[Task, ...]] = {
    "keystone": (say("Restart api", "keystone-restart"),),
    "glance": (say("Restart api", "glance-restart-{{ api_port }}"), say("Tell", "glance-tell", listen="restarted")),
    "nova-compute": (say("Restart agent", "nova-restart"),),
}


def host(name: str, role: str, **more: Any) -> Host:
    """A host on this machine."""
    return Host(name=name, role=role, connection="local", **more)


def sample(log: str = "/tmp/log", **settings: Any) -> Plan:
    """The plan. ``settings`` come on top of ``log``."""
    hosts = [
        *(host(name, "controller", vars={"own": f"of {name}"}) for name in sorted(CONTROLLERS)),
        *(host(name, "compute") for name in sorted(COMPUTES)),
        host("lb1", "balancer"),
    ]
    passes = (
        _pass("prepare/controller", "controller", ("keystone",), CONTROLLERS, ["keystone.prepare.fetch"]),
        _pass("expand/keystone", "controller", ("keystone",), ("ctrl1",), ["keystone.expand.expand"], once=True),
        Pass(
            id="control/controller",
            stage="control",
            role="controller",
            services=("keystone", "glance"),
            hosts=CONTROLLERS,
            rolling=True,
            canaries=1,
            legs=(
                Leg(steps=("keystone.drain.leave",), on="lb1"),
                Leg(
                    steps=(
                        "keystone.upgrade.turn-the-link",
                        "keystone.upgrade.tidy",
                        "glance.upgrade.turn-the-link",
                    )
                ),
                Leg(steps=("keystone.undrain.join",), on="lb1"),
            ),
        ),
        Pass(
            id="data/compute",
            stage="data",
            role="compute",
            services=("nova-compute",),
            hosts=COMPUTES,
            rolling=True,
            canaries=1,
            legs=(Leg(steps=("nova-compute.upgrade.swap", "nova-compute.verify.look")),),
        ),
        _pass("contract/keystone", "controller", ("keystone",), ("ctrl1",), ["keystone.contract.contract"], once=True),
    )
    return Plan(
        cluster="prod",
        source="2025.2",
        target="2026.1",
        stages=tuple(
            Stage(
                kind=pass_.stage,
                passes=(pass_.id,),
                approval=pass_.stage == "contract",
                point_of_no_return=pass_.stage == "contract",
            )
            for pass_ in passes
        ),
        passes={pass_.id: pass_ for pass_ in passes},
        steps={found.id: found for found in STEPS},
        handlers=HANDLERS,
        hosts={found.name: found for found in hosts},
        roles={
            "controller": RoleLimits(name="controller", limit=1, stated="1"),
            "compute": RoleLimits(name="compute", limit=2, stated="2"),
            "balancer": RoleLimits(name="balancer", limit=1, stated="default 1"),
        },
        role_vars={"controller": {"tier": "control"}},
        service_vars={
            "keystone": {"api_port": 5000, "keystone_home": "{{ base }}/{{ underway_release_to }}"},
            "glance": {"api_port": 9292},
        },
        release_vars={"base": "/srv"},
        settings={"log": log, **settings},
        rollback={"controller": ("keystone.rollback.turn-back",)},
        policy=Policy(prepare_limit=Limit(count=1), health_timeout=10.0),
    )


def _pass(
    pass_id: str, role: str, services: tuple[str, ...], hosts: tuple[str, ...], steps: list[str], *, once: bool = False
) -> Pass:
    stage: Any = pass_id.partition("/")[0]
    return Pass(
        id=pass_id,
        stage=stage,
        role=role,
        services=services,
        hosts=hosts,
        legs=(Leg(steps=tuple(steps)),),
        once=once,
    )


def with_host(plan: Plan, name: str, **changes: Any) -> Plan:
    """The plan with one host changed."""
    return replace(plan, hosts={**plan.hosts, name: replace(plan.hosts[name], **changes)})


def fleet(size: int) -> Plan:
    """The sample with ``size`` computes, all in one pass, reached over SSH."""
    plan = sample()
    names = tuple(f"cmp{number:05d}" for number in range(size))
    pass_ = replace(plan.passes["data/compute"], hosts=names)
    rest = {name: found for name, found in plan.hosts.items() if found.role != "compute"}
    hosts = {
        name: Host(name=name, role="compute", address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        for number, name in enumerate(names)
    }
    return replace(
        plan,
        hosts=rest | hosts,
        passes={**plan.passes, "data/compute": pass_},
    )


__all__ = ["COMPUTES", "CONTROLLERS", "fleet", "host", "sample", "say", "step", "with_host"]
