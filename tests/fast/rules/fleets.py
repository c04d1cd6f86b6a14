"""Plans and snapshots for the tests of the rules, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from underway.core.model.cluster import Host, Probe
from underway.core.model.plan import ROLLING_STAGES, Edge, GroupLimits, Leg, Pass, Plan, RoleLimits, Stage, StageKind
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health, Hold, RunRecord

RUN = RunRecord(id="r1", cluster="c", plan="0" * 64, source="old", target="new")


def make_pass(
    name: str,
    hosts: Iterable[str],
    *,
    role: str = "",
    after: Sequence[str] = (),
    on: Sequence[str] = (),
    services: Sequence[str] = ("svc",),
    rolling: bool | None = None,
    **more: Any,
) -> Pass:
    stage: StageKind = name.split("/")[0]  # type: ignore[assignment]
    legs = tuple(Leg(steps=("drain",), on=other) for other in on)
    return Pass(
        id=name,
        stage=stage,
        role=role or name.split("/")[1],
        services=tuple(services),
        hosts=tuple(hosts),
        legs=(*legs, Leg(steps=("svc.upgrade.turn",))),
        after=tuple(Edge(before=before, after=name, reason=f"{name} needs it") for before in after),
        rolling=stage in ROLLING_STAGES if rolling is None else rolling,
        **more,
    )


def make_plan(
    passes: Iterable[Pass],
    roles: Mapping[str, Sequence[str]],
    *,
    limits: Mapping[str, int] | None = None,
    groups: Mapping[str, tuple[Sequence[str], int]] | None = None,
    domains: Mapping[str, str] | None = None,
    policy: Policy | None = None,
    probed: bool = False,
    approvals: Sequence[str] = (),
) -> Plan:
    """A plan of these passes; stages in the order in which they first appear."""
    listed = list(passes)
    stages: dict[StageKind, list[str]] = {}
    for each in listed:
        stages.setdefault(each.stage, []).append(each.id)
    group_of = {role: name for name, (members, _) in (groups or {}).items() for role in members}
    return Plan(
        cluster="c",
        source="old",
        target="new",
        stages=tuple(Stage(kind=k, passes=tuple(v), approval=k in approvals) for k, v in stages.items()),
        passes={each.id: each for each in listed},
        steps={},
        hosts={
            host: Host(name=host, role=role, domain=(domains or {}).get(host, ""))
            for role, hosts in roles.items()
            for host in hosts
        },
        roles={
            role: RoleLimits(name=role, limit=(limits or {}).get(role, 1), stated="", group=group_of.get(role, ""))
            for role in roles
        },
        groups={
            name: GroupLimits(name=name, roles=tuple(members), limit=limit, stated=str(limit))
            for name, (members, limit) in (groups or {}).items()
        },
        probes={
            host: Probe(name=host, kind="tcp", host=host, address=f"{host}:1")
            for hosts in roles.values()
            for host in hosts
            if probed
        },
        policy=policy or Policy(),
    )


def names(role: str, count: int) -> list[str]:
    return [f"{role}{number}" for number in range(1, count + 1)]


def one_role(count: int, limit: int = 1, **more: Any) -> Plan:
    """One rolling pass ``data/web`` over web1..webN."""
    canaries = more.pop("canaries", 0)
    p90 = more.pop("p90", 0.0)
    hosts = names("web", count)
    work = make_pass("data/web", hosts, canaries=canaries, p90=p90)
    return make_plan([work], {"web": hosts}, limits={"web": limit}, **more)


def seen(actions: Mapping[str, ActionRecord | str] | None = None, **more: Any) -> Snapshot:
    """A snapshot; a record may be given by its state alone. ``sick`` names unhealthy hosts, ``held`` held ones."""
    records = {
        action: record if isinstance(record, ActionRecord) else ActionRecord(state=record)  # type: ignore[arg-type]
        for action, record in (actions or {}).items()
    }
    health: dict[str, Health] = dict(more.pop("health", {}))
    health.update({host: Health(healthy=False, since=1, checked=2, detail="503") for host in more.pop("sick", ())})
    holds: dict[str, Hold] = dict(more.pop("holds", {}))
    holds.update({host: Hold(host=host, reason="disk", by="ana", at=1) for host in more.pop("held", ())})
    return Snapshot(
        revision=more.pop("revision", 7), run=more.pop("run", RUN), actions=records, health=health, holds=holds, **more
    )
