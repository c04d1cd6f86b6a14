"""Clusters made in Python, with tasks as short as the rules allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from underway.core.model.cluster import Cluster, Group, Host, Role
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import PHASES, Catalogue, Phase, PhaseSpec, Release, Service, Step
from underway.core.planner import build_plan

OLD, NEW = "2025.2", "2026.1"


def step(service: str, phase: Phase, name: str, **more: Any) -> Step:
    more.setdefault("idempotent", True)
    task = {"name": name.capitalize(), "ansible.builtin.command": f"/bin/{name}"}
    return Step(
        id=f"{service}.{phase}.{name}", name=name.replace("-", " "), service=service, phase=phase, tasks=(task,), **more
    )


def phase(service: str, kind: Phase, *names: str, once: bool = False, on: str = "", **more: Any) -> PhaseSpec:
    return PhaseSpec(steps=tuple(step(service, kind, name, **more) for name in names), once=once, on=on)


def service(
    name: str,
    needs: Sequence[str] = (),
    plane: Literal["control", "data"] = "control",
    phases: Mapping[str, PhaseSpec] | None = None,
    **more: Any,
) -> Service:
    """A service with an upgrade and a verify step, unless ``phases`` says otherwise."""
    if phases is None:
        phases = {"upgrade": phase(name, "upgrade", "switch"), "verify": phase(name, "verify", "ask")}
    assert set(phases) <= set(PHASES)
    return Service(name=name, needs=tuple(needs), plane=plane, phases=dict(phases), **more)


def whole(name: str, needs: Sequence[str] = (), balancer: str = "", **more: Any) -> Service:
    """A service with every phase; drained ``on`` the balancer's hosts where one is given."""
    phases: dict[str, PhaseSpec] = {
        "preflight": phase(name, "preflight", "check"),
        "prepare": phase(name, "prepare", "install"),
        "expand": phase(name, "expand", "expand-schema", once=True),
        "drain": phase(name, "drain", "drain", on=balancer),
        "upgrade": phase(name, "upgrade", "stop", "turn-link", "start"),
        "undrain": phase(name, "undrain", "undrain", on=balancer),
        "verify": phase(name, "verify", "ask"),
        "finalize": phase(name, "finalize", "unpin"),
        "contract": phase(name, "contract", "contract-schema", once=True),
        "migrate": phase(name, "migrate", "move-data", once=True),
        "rollback": phase(name, "rollback", "turn-back"),
    }
    return Service(name=name, needs=tuple(needs), phases=dict(phases), **more)


def hosts(role: str, names: Sequence[str], **more: Any) -> dict[str, Host]:
    return {name: Host(name=name, role=role, address=f"10.0.0.{index + 1}", **more) for index, name in enumerate(names)}


def many(stem: str, count: int) -> list[str]:
    return [f"{stem}{number}" for number in range(1, count + 1)]


def catalogue(*services: Service, changes: Sequence[str] = (), **more: Any) -> Catalogue:
    release = Release(name=NEW, supports=("2025.1", OLD), services=dict.fromkeys(changes, "2"), **more)
    return Catalogue(
        services={found.name: found for found in services},
        releases={NEW: release, OLD: Release(name=OLD, supports=("2025.1", "2024.2"))},
    )


def cluster(roles: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None, **more: Any) -> Cluster:
    """``roles``: name -> (services, hosts). ``more`` are fields of the cluster; ``limits``, ``after``, ``canary`` of
    roles by name."""
    limits, after, canary = more.pop("limits", {}), more.pop("after", {}), more.pop("canary", {})
    found_hosts: dict[str, Host] = {}
    found_roles = {}
    for name, (services, names) in (roles or {}).items():
        found_roles[name] = Role(
            name=name, services=tuple(services), limit=limit(limits.get(name)), after=tuple(after.get(name, ())),
            canary=tuple(canary.get(name, ())),
        )  # fmt: skip
        found_hosts |= hosts(name, names)
    more.setdefault("hosts", found_hosts)
    return Cluster(name=more.pop("name", "prod"), release=more.pop("release", OLD), roles=found_roles, **more)


def limit(value: int | str | None) -> Limit | None:
    if value is None:
        return None
    return Limit(percent=int(value[:-1])) if isinstance(value, str) else Limit(count=value)


def plan(made: Cluster, has: Catalogue, **more: Any) -> Plan:
    return build_plan(made, has, more.pop("target", NEW), digests=more.pop("digests", {}), **more)


__all__ = [
    "NEW", "OLD", "Group", "Host", "Limit", "Policy", "catalogue", "cluster", "hosts", "limit", "many", "phase", "plan",
    "service", "step", "whole",
]  # fmt: skip
