"""Random clusters for the planner's properties, small enough to be checked by trying everything."""

from __future__ import annotations

from itertools import combinations
from typing import TypeVar

from hypothesis import strategies as st

from fast.planner.made import Group, Limit, Policy, catalogue, many, phase
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.service import Catalogue, Phase, PhaseSpec, Service
from underway.core.model.state import HostRecord

T = TypeVar("T")

KINDS: tuple[Phase, ...] = (
    "preflight", "prepare", "expand", "drain", "upgrade", "undrain", "verify", "finalize", "contract", "migrate",
    "rollback",
)  # fmt: skip


@st.composite
def services(draw: st.DrawFn, names: list[str], plain: bool = False) -> list[Service]:
    """Services that need only earlier ones; with ``plain`` each has just an upgrade."""
    made = []
    for index, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3)) if index else []
        kinds = ["upgrade"] if plain else draw(st.lists(st.sampled_from(KINDS), unique=True, max_size=6))
        phases: dict[str, PhaseSpec] = {}
        for kind in kinds:
            once = False if plain else draw(st.sampled_from([False, False, True]))
            phases[kind] = phase(name, kind, "one", "two", once=once)  # type: ignore[arg-type]
        plane = draw(st.sampled_from(["control", "data"]))
        after = draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=1)) if index and plain else []
        made.append(
            Service(name=name, needs=tuple(needs), after=tuple(after), plane=plane, phases=phases)  # type: ignore[arg-type]
        )
    return made


@st.composite
def worlds(draw: st.DrawFn, plain: bool = False) -> tuple[Cluster, Catalogue, dict[str, HostRecord]]:
    """A cluster, its catalogue, and what is known of hosts; every order but that of needs and services is possible."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 5)))]
    roles: dict[str, Role] = {}
    hosts: dict[str, Host] = {}
    stems = [f"r{index}" for index in range(draw(st.integers(1, 3 if plain else 4)))]
    for index, stem in enumerate(stems):
        members = many(stem + "-h", draw(st.integers(0 if not plain else 1, 3 if plain else 4)))
        after = draw(st.lists(st.sampled_from(stems[:index]), unique=True, max_size=1)) if index and not plain else []
        canary = draw(st.lists(st.sampled_from(members), unique=True, max_size=1)) if members and not plain else []
        roles[stem] = Role(
            name=stem,
            services=tuple(draw(st.lists(st.sampled_from(names), unique=True, min_size=1))),
            limit=draw(st.sampled_from([None, Limit(count=1), Limit(count=2), Limit(percent=100)])),
            after=tuple(after),
            canary=tuple(canary),
        )
        hosts |= {
            name: Host(name=name, role=stem, domain=draw(st.sampled_from(["", "east", "west"]))) for name in members
        }
    groups = {}
    if not plain and draw(st.booleans()):
        groups["both"] = Group(name="both", roles=tuple(stems[:2]), limit=draw(st.sampled_from([None, Limit(count=2)])))
    policy = Policy(
        allow_full_outage=plain or draw(st.booleans()),
        limit=draw(st.sampled_from([None, None, Limit(count=1), Limit(count=3)])),
        domain_limit=draw(st.sampled_from([None, None, Limit(count=1)])),
        domains_at_once=draw(st.sampled_from([0, 0, 1])),
    )
    known = {}
    if not plain:
        done = draw(st.lists(st.sampled_from(sorted(hosts)), unique=True, max_size=2)) if hosts else []
        known = {name: HostRecord(release="2026.1") for name in done}
    found = catalogue(*draw(services(names, plain)), changes=[] if plain or draw(st.booleans()) else names[:3])
    world = Cluster(name="drawn", release="2025.2", roles=roles, hosts=hosts, groups=groups, policy=policy)
    return world, found, known


def shuffled(draw: st.DrawFn, made: Cluster, found: Catalogue) -> tuple[Cluster, Catalogue]:
    """The same values with every mapping in another order."""

    def mixed(mapping: dict[str, T]) -> dict[str, T]:
        return dict(draw(st.permutations(sorted(mapping.items()))))

    return (
        replace(made, roles=mixed(made.roles), hosts=mixed(made.hosts), groups=mixed(made.groups)),
        replace(
            found,
            services={
                name: replace(service, phases=mixed(service.phases)) for name, service in mixed(found.services).items()
            },
            releases=mixed(found.releases),
        ),
    )


def fewest(made: Cluster, found: Catalogue) -> int:
    """The least number of visits of hosts, by trying every part of every role's work at every point; -1 where there is
    no way.

    Written from the rule alone (a need is met on every other role's hosts before, on the role itself in the same visit
    at the latest; one of ``after`` on its own hosts before, too, where there are several), sharing nothing with the
    planner. Every service has work, no role is empty.
    """
    sizes = {name: sum(host.role == name for host in made.hosts.values()) for name in made.roles}
    runs: dict[str, list[str]] = {}
    for role in made.roles.values():
        for name in role.services:
            runs.setdefault(name, []).append(role.name)
    needs = {name: _through(name, found, runs) for name in runs}
    before = {name: _through(name, found, runs, strict=True) for name in runs}
    every = frozenset((role, name) for name, roles in runs.items() for role in roles)
    best: dict[frozenset[tuple[str, str]], int] = {frozenset(): 0}
    rings: dict[int, set[frozenset[tuple[str, str]]]] = {0: {frozenset()}}
    while rings:
        count = min(rings)
        for done in rings.pop(count):
            if best[done] < count:
                continue
            if done == every:
                return count
            for role in made.roles.values():
                if any((other, name) not in done for other in role.after for name in made.roles[other].services):
                    continue
                left = [name for name in role.services if (role.name, name) not in done]
                for size in range(1, len(left) + 1):
                    for part in combinations(left, size):
                        after = done | {(role.name, name) for name in part}
                        met = all(
                            (other, need)
                            in (done if other != role.name or (need in before[name] and sizes[other] > 1) else after)
                            for name in part
                            for need in needs[name]
                            for other in runs[need]
                        )
                        cost = count + sizes[role.name]
                        if met and cost < best.get(after, cost + 1):
                            best[after] = cost
                            rings.setdefault(cost, set()).add(after)
    return -1


def _through(name: str, found: Catalogue, runs: dict[str, list[str]], *, strict: bool = False) -> set[str]:
    """What a service needs of what runs here, also through services that run nowhere; ``strict``: only what some word
    on the way wants finished everywhere."""
    result: set[str] = set()
    queue = [(name, False)]
    seen = set()
    while queue:
        here, whole = queue.pop()
        service = found.services[here]
        for need in (*service.needs, *service.after):
            step = (need, whole or need in service.after)
            if need in runs and (step[1] or not strict):
                result.add(need)
            if need not in runs and step not in seen:
                seen.add(step)
                queue.append(step)
    return result
