"""Two plans for tests of what is shown: Keystone on three controllers, and a fleet of 500 hosts in four roles."""

from __future__ import annotations

from underway.core.model.cluster import Host, Probe
from underway.core.model.plan import Edge, Leg, Loss, Pass, Plan, RoleLimits, Stage, StageKind
from underway.core.model.service import Phase, Step


def steps_of(service: str, phases: dict[Phase, str]) -> dict[str, Step]:
    found = [
        Step(id=f"{service}.{phase}.{name.replace(' ', '-')}", name=name, service=service, phase=phase, tasks=())
        for phase, name in phases.items()
    ]
    return {step.id: step for step in found}


def keystone_plan() -> Plan:
    """Three controllers behind a balancer; Keystone from 2025.2 to 2026.1."""
    steps = steps_of(
        "keystone",
        {
            "preflight": "ask for upgrade checks",
            "prepare": "install the new release",
            "expand": "expand the schema",
            "drain": "drain at the balancer",
            "upgrade": "turn the link",
            "undrain": "undrain at the balancer",
            "verify": "ask for a token",
            "contract": "contract the schema",
        },
    )
    of = {step.phase: name for name, step in steps.items()}
    hosts = {f"ctrl{n}": Host(name=f"ctrl{n}", role="controller", domain=f"rack-{n}") for n in (1, 2, 3)}
    hosts["lb1"] = Host(name="lb1", role="balancer", domain="rack-1")
    controllers = ("ctrl1", "ctrl2", "ctrl3")

    def work(stage: StageKind, phases: list[tuple[Phase, str]], **more: object) -> Pass:
        once = bool(more.get("once"))
        return Pass(
            id=f"{stage}/{'keystone' if once else 'controller'}",
            stage=stage,
            role="controller",
            services=("keystone",),
            hosts=controllers[:1] if once else controllers,
            legs=tuple(Leg(steps=(of[p],), on=on) for p, on in phases),
            p50=40,
            p90=55,
            basis="guess: 5 s a task",
            **more,  # type: ignore[arg-type]
        )

    passes = [
        work("preflight", [("preflight", "")]),
        work("prepare", [("prepare", "")]),
        work("expand", [("expand", "")], once=True),
        work(
            "control",
            [("drain", "lb1"), ("upgrade", ""), ("undrain", "lb1"), ("verify", "")],
            rolling=True,
            canaries=1,
            why="each visit to a host costs a disruption",
        ),
        work("contract", [("contract", "")], once=True),
        work("verify", [("verify", "")]),
    ]
    why = {
        "preflight": "nothing is touched before every host says that it can",
        "prepare": "new bits on every host, nothing restarted",
        "expand": "both releases can live with the wider schema",
        "control": "one controller at a time, the first one as canary",
        "contract": "the old release cannot live without what is dropped",
        "verify": "what was made before must still be alive",
    }
    return Plan(
        cluster="prod-eu1",
        source="2025.2",
        target="2026.1",
        stages=tuple(
            Stage(
                kind=p.stage,
                passes=(p.id,),
                why=why[p.stage],
                approval=p.stage == "contract",
                point_of_no_return=p.stage == "contract",
            )
            for p in passes
        ),
        passes={p.id: p for p in passes},
        steps=steps,
        hosts=hosts,
        roles={
            "controller": RoleLimits(name="controller", limit=1, stated="1"),
            "balancer": RoleLimits(name="balancer", limit=1, stated="default 1"),
        },
        probes={
            name: Probe(name=name, kind="keystone", service="keystone", every=0.1, access=access, host=host)  # type: ignore[arg-type]
            for name, access, host in (
                ("token", "read", ""),
                ("projects", "read", ""),
                ("create-project", "write", ""),
                ("ctrl1-health", "read", "ctrl1"),
                ("ctrl2-health", "read", "ctrl2"),
                ("ctrl3-health", "read", "ctrl3"),
            )
        },
        losses=(Loss(service="keystone", lost=1, total=3, why="controller has limit 1"),),
        warnings=("the balancer lb1 has no second: while it is away nothing is served",),
        defaults=("role balancer states no limit: 1 is used",),
    )


def fleet_plan(hosts: int = 500) -> Plan:
    """Four roles, ``hosts`` hosts: what a big cloud looks like."""
    sizes = {"controller": 3, "network": max(hosts // 40, 1), "storage": max(hosts // 6, 1)}
    sizes["compute"] = hosts - sum(sizes.values())
    limits = {"controller": 1, "network": 2, "storage": 4, "compute": 30}
    steps: dict[str, Step] = {}
    of: dict[str, dict[str, str]] = {}
    for role in sizes:
        service = {
            "controller": "nova-api",
            "network": "neutron-agent",
            "storage": "ceph-osd",
            "compute": "nova-compute",
        }[role]
        made = steps_of(
            service,
            {
                "prepare": "install the new release",
                "drain": "move the work away",
                "upgrade": "turn the link",
                "undrain": "take work again",
                "verify": "ask for the release",
            },
        )
        of[role] = {step.phase: name for name, step in made.items()}
        steps |= made
    found: dict[str, Host] = {}
    for role, size in sizes.items():
        for number in range(1, size + 1):
            name = f"{role[:4]}{number:03}"
            found[name] = Host(name=name, role=role, domain=f"rack-{number % 12 + 1}")
    passes: list[Pass] = []
    for role in sizes:
        names = tuple(name for name, host in found.items() if host.role == role)
        service = steps[of[role]["upgrade"]].service
        passes.append(
            Pass(
                id=f"prepare/{role}",
                stage="prepare",
                role=role,
                services=(service,),
                hosts=names,
                legs=(Leg(steps=(of[role]["prepare"],)),),
                p50=30,
                p90=45,
                basis="12 past runs",
            )
        )
        rolling = tuple(of[role][phase] for phase in ("drain", "upgrade", "undrain", "verify"))
        stage: StageKind = "control" if role == "controller" else "data"
        passes.append(
            Pass(
                id=f"{stage}/{role}",
                stage=stage,
                role=role,
                services=(service,),
                hosts=names,
                legs=(Leg(steps=rolling),),
                rolling=True,
                p50=25,
                p90=40,
                basis="12 past runs",
                after=()
                if role != "compute"
                else (Edge(before="data/network", after="data/compute", reason="computes need ports"),),
            )
        )
    why: dict[StageKind, str] = {
        "prepare": "new bits on every host, nothing restarted",
        "control": "the API first",
        "data": "role by role",
    }
    stages = [Stage(kind=kind, passes=tuple(p.id for p in passes if p.stage == kind), why=why[kind]) for kind in why]
    return Plan(
        cluster="prod-eu2",
        source="2025.2",
        target="2026.1",
        stages=tuple(stages),
        passes={p.id: p for p in passes},
        steps=steps,
        hosts=found,
        roles={role: RoleLimits(name=role, limit=limits[role], stated=str(limits[role])) for role in sizes},
        probes={"servers": Probe(name="servers", kind="http", service="nova-api", every=1.0)},
        losses=(Loss(service="nova-compute", lost=30, total=sizes["compute"], why="compute has limit 30"),),
    )
