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
        made.append(Service(name=name, needs=tuple(needs), plane=plane, phases=phases))  # type: ignore[arg-type]
    return made


@st.composite
def worlds(draw: st.DrawFn, plain: bool = False) -> tuple[Cluster, Catalogue, dict[str, HostRecord]]:
    """A cluster, its catalogue, and what is known of hosts; every order but that of needs and services is possible."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 5)))]
    roles: dict[str, Role] = {}
    hosts: dict[str, Host] = {}
    stems = [f"r{index}" for index in range(draw(st.integers(1, 3 if plain else 4)))]
    for index, stem in enumerate(stems):
        members = many(stem + "-h", draw(st.integers(0 if not plain else 1, 1 if plain else 4)))
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
        allow_full_outage=draw(st.booleans()),
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
    """The least number of visits, by trying every part of every role's work at every point; -1 where there is no way.

    Written from the rule alone (a need is met on every other role's hosts before, on the role itself in the same visit
    at the latest), sharing nothing with the planner. Every service has work, no role is empty.
    """
    runs: dict[str, list[str]] = {}
    for role in made.roles.values():
        for name in role.services:
            runs.setdefault(name, []).append(role.name)
    needs = {name: _through(name, found, runs) for name in runs}
    every = frozenset((role, name) for name, roles in runs.items() for role in roles)
    ring = {frozenset[tuple[str, str]]()}
    seen = set(ring)
    count = 0
    while ring:
        if every in ring:
            return count
        count += 1
        following = set()
        for done in ring:
            for role in made.roles.values():
                if any((other, name) not in done for other in role.after for name in made.roles[other].services):
                    continue
                left = [name for name in role.services if (role.name, name) not in done]
                for size in range(1, len(left) + 1):
                    for part in combinations(left, size):
                        after = done | {(role.name, name) for name in part}
                        met = all(
                            (other, need) in (after if other == role.name else done)
                            for name in part
                            for need in needs[name]
                            for other in runs[need]
                        )
                        if met and after not in seen:
                            seen.add(after)
                            following.add(after)
        ring = following
    return -1


def _through(name: str, found: Catalogue, runs: dict[str, list[str]]) -> set[str]:
    """What a service needs of what runs here, also through services that run nowhere."""
    result: set[str] = set()
    queue, seen = list(found.services[name].needs), set()
    while queue:
        need = queue.pop()
        if need in seen:
            continue
        seen.add(need)
        if need in runs:
            result.add(need)
        else:
            queue += found.services[need].needs
    return result
