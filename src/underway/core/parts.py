"""Parts of an upgrade: what is planned now, what must have been done before it, what earlier runs did. Pure.

Assumptions
    1. A host's record tells which of its services run the target (``Facts.done``); what is not recorded is not done.
Invariants
    1. A part is refused if anything in it comes after work that neither this plan nor an earlier run does (P2).
    2. What earlier runs did to a host is not done to it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as copy_of

from underway.core.facts import VISIT, Facts
from underway.core.model.base import replace
from underway.core.model.part import Part, Partial
from underway.core.model.plan import Edge, Pass
from underway.core.model.service import Phase
from underway.core.names import natural, ordered, span
from underway.core.nearest import nearest
from underway.core.ordering import Needs, closed, service_order
from underway.core.passes import Builder, merged

ONCE_VISIT: tuple[Phase, ...] = ("drain", "upgrade", "undrain")
"""Phases of a visit that a service may do once for all its hosts."""


def movers(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Role -> services with work at a visit of each of its hosts, in the role's order."""
    return {
        name: tuple(
            service
            for service in dict.fromkeys(role.services)
            if service in facts.services and any(facts.phase(service, phase, once=False) for phase in VISIT)
        )
        for name, role in facts.cluster.roles.items()
    }


def once_movers(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Host -> services whose work of a visit is done on it, once for all."""
    found: dict[str, list[str]] = {}
    for service in facts.services:
        if facts.hosts_of(service) and any(facts.phase(service, phase, once=True) for phase in ONCE_VISIT):
            found.setdefault(facts.primary(service)[0], []).append(service)
    return {host: tuple(services) for host, services in found.items()}


def problems(facts: Facts, part: Part) -> Iterator[str]:
    """Words of a part that name nothing, or nothing that could be upgraded."""
    cluster = facts.cluster
    for kind, words, names in (
        ("role", part.roles, cluster.roles),
        ("host", part.hosts, cluster.hosts),
        ("service", part.services, facts.running),
    ):
        for word in words:
            if word not in names:
                what = "service on any role" if kind == "service" else kind
                yield f"--{kind} {word}: there is no {what} of this name{nearest(word, names)}"
    for word in part.services:
        if word in facts.unchanged:
            yield f"--service {word}: {facts.target} does not change it"
        if word in facts.same:
            yield f"--service {word}: nothing of what it is made of changes (--all plans it all the same)"
    for word in part.hosts:
        if part.roles and word in cluster.hosts and cluster.hosts[word].role not in part.roles:
            yield f"--host {word}: it is of role {cluster.hosts[word].role}, and --role says {', '.join(part.roles)}"
    for word in part.services:
        if part.planes and word in facts.services and facts.service(word).plane not in part.planes:
            plane = facts.service(word).plane
            yield f"--service {word}: it is of the {plane} plane, and --plane says {', '.join(part.planes)}"


class Selection:
    """What a part takes of the whole, pair by pair: a service on a host. ``facts`` are those of the whole upgrade."""

    def __init__(self, facts: Facts, part: Part) -> None:
        self.facts, self.part = facts, part
        self.movers = movers(facts)
        self.once = once_movers(facts)
        self.services = frozenset(
            name
            for name in facts.services
            if (not part.services or name in part.services)
            and (not part.planes or facts.service(name).plane in part.planes)
        )
        self._left: dict[str, dict[str, list[str]]] = {role: {} for role in facts.members}
        self._now: dict[str, dict[str, set[str]]] = {role: {} for role in facts.members}
        self.pending: dict[str, tuple[str, ...]] = {}
        for role, members in facts.members.items():
            runs = self.services & set(facts.cluster.roles[role].services)
            if part.whole and facts.done.keys().isdisjoint(members):  # nothing to look at host by host
                self.pending[role] = facts.pending[role]
                continue
            pending = []
            for host in facts.pending[role]:
                todo = [name for name in self.of(host) if name not in facts.done.get(host, ())]
                taken = self.takes(host)
                now = [name for name in todo if taken and name in self.services]
                for name in now:
                    self._now[role].setdefault(name, set()).add(host)
                for name in todo:
                    if name not in now:
                        self._left[role].setdefault(name, []).append(host)
                if taken and (now if self.of(host) else runs or part.whole):
                    pending.append(host)
            self.pending[role] = tuple(pending) if len(pending) < len(members) else members

    def takes(self, host: str) -> bool:
        """Whether the part takes a host."""
        part = self.part
        role = self.facts.cluster.hosts[host].role
        return (not part.hosts or host in part.hosts) and (not part.roles or role in part.roles)

    def of(self, host: str) -> tuple[str, ...]:
        """All services with work at the visits of a host."""
        own = self.movers[self.facts.cluster.hosts[host].role]
        return (*own, *(name for name in self.once.get(host, ()) if name not in own))

    def facts_of_part(self) -> Facts:
        """What the planner knows, narrowed to the part."""
        facts = self.facts
        first = {role: len(dict.fromkeys(facts.cluster.roles[role].canary)) for role in facts.members}
        canaries = {
            role: sum(1 for host in self.pending[role] if host in facts.members[role][: first[role]])
            for role in facts.members
        }
        services = facts.services
        if not self.part.whole:
            roles = [facts.cluster.roles[role] for role in facts.members if self.pending[role]]
            there = self.services.intersection(*[{name for role in roles for name in role.services}])
            services = tuple(name for name in services if name in there)
        outside = {host for services in self._left.values() for hosts in services.values() for host in hosts}
        return copy_of(
            facts, part=self.part, pending=self.pending, canaries=canaries, services=services,
            outside=frozenset(outside), hosts_cache={},
        )  # fmt: skip

    def partial(self) -> tuple[Partial, ...]:
        """The hosts of the part that it does not upgrade whole, alike ones together."""
        facts = self.facts
        found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
        for role, hosts in self.pending.items():
            for host in hosts:
                if self.part.whole and host not in facts.done:
                    continue
                mine = self.of(host)
                done = tuple(name for name in mine if name in facts.done.get(host, ()))
                left = tuple(name for name in mine if name not in done and host not in self._now[role].get(name, ()))
                if done or left:
                    found.setdefault((done, left), []).append(host)
        return tuple(Partial(hosts=tuple(hosts), done=done, left=left) for (done, left), hosts in found.items())

    def out_of_order(self) -> Iterator[str]:
        """What is left out although something in the part comes after it: a sentence for each pair of roles."""
        facts = self.facts
        if not any(self._left.values()):
            return
        every = {name for role in facts.members for name in (*self.movers[role], *self._now[role], *self._left[role])}
        catalogue = facts.catalogue.services
        needs = Needs(
            {name: service.waits_for for name, service in catalogue.items()},
            every,
            {name: service.after for name, service in catalogue.items() if service.after},
        )
        line = service_order(sorted(every, key=natural), needs.of)
        early = self._early(every, needs)
        after = closed({name: role.after for name, role in facts.cluster.roles.items()})
        told: dict[tuple[str, str], str] = {}
        for role in ordered(self._now):
            for service in sorted(self._now[role], key=line.index):
                for other in ordered(self._left):
                    for earlier in sorted(self._left[other], key=line.index):
                        how = self._before((role, service), (other, earlier), needs, early, after)
                        if how is not None:
                            told.setdefault((other, role), self._sentence((role, service), (other, earlier), *how))
        yield from told.values()

    def _early(self, every: set[str], needs: Needs) -> set[str]:
        """Services whose visits are in the control stage wherever they run: of that plane, or needed by one of it."""
        queue = [name for name in every if self.facts.service(name).plane == "control"]
        found = set(queue)
        for name in queue:
            more = set(needs.of[name]) - found
            found |= more
            queue.extend(more)
        return found

    def _before(
        self,
        later: tuple[str, str],
        first: tuple[str, str],
        needs: Needs,
        early: set[str],
        after: Mapping[str, set[str]],
    ) -> tuple[list[str], str] | None:
        """The hosts of ``first`` that ``later`` (each a role and a service) comes after, and the words that plan them;
        None where it waits for none of them."""
        facts = self.facts
        (role, service), (other, earlier) = later, first
        left, now = self._left[other][earlier], self._now[role][service]
        here = [host for host in left if host in now]
        narrow = f"--role {other}" + (f" --service {earlier}" if other == role else "")
        if facts.cluster.strategy == "lockstep" and (earlier in early or service not in early):
            # number by number, each waits for all others: only a whole plane can be left for later
            return left, "--plane control" if earlier in early else "--plane data"
        if other in after[role]:
            return left, narrow
        if earlier == service:
            found = self._once_before(service, left)
            return (found, f"--service {service}") if found else None
        if earlier in needs.of[service]:
            found = left if other != role or earlier in needs.everywhere[service] else here
            if found:
                return found, narrow
        if earlier in early and early.isdisjoint(self._now[role]):  # else its visit is one of the control stage
            found = left if other != role else here
            if found:
                return found, "--plane control"
        return None

    def _once_before(self, service: str, left: Sequence[str]) -> list[str]:
        """The hosts that a service's other hosts wait for, because it does some of a visit once for all of them."""
        facts = self.facts
        if facts.phase(service, "undrain", once=True):
            return list(left)  # what is put back once comes after every visit
        primary = facts.primary(service)[0] if facts.hosts_of(service) else ""
        return [host for host in left if host == primary] if service in self.once.get(primary, ()) else []

    def _sentence(self, later: tuple[str, str], first: tuple[str, str], hosts: Sequence[str], words: str) -> str:
        are = "are" if len(hosts) > 1 else "is"
        return (
            f"{later[1]} ({later[0]}) comes after {first[1]} ({first[0]}), and {span(hosts)} {are} left out but not on "
            f"{self.facts.target} yet (first: underway plan --to {self.facts.target} {words})"
        )


def split(builder: Builder, passes: Sequence[str]) -> list[str]:
    """Rolling passes whose hosts have not all the same left become one for each kind of host; the ids in their order.

    Each does what earlier runs did not do on its hosts. Canaries' part comes first.
    """
    done = builder.facts.done
    if not done:
        return list(passes)
    found: list[str] = []
    for name in passes:
        work = builder.passes[name]
        kinds: dict[tuple[str, ...], list[str]] = {}
        for host in work.hosts:
            todo = tuple(service for service in work.services if service not in done.get(host, ()))
            kinds.setdefault(todo, []).append(host)
        kinds.pop((), None)
        if list(kinds) == [work.services] and len(kinds[work.services]) == len(work.hosts):
            found.append(name)
            continue
        found += _divided(builder, work, kinds)
    return found


def _divided(builder: Builder, work: Pass, kinds: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    canaries = set(work.hosts[: work.canaries])
    parts: list[Pass] = []
    for services, hosts in sorted(kinds.items(), key=lambda kind: canaries.isdisjoint(kind[1])):
        name = work.id
        if parts:
            name = f"{work.id}.rest{len(parts) + 1 if len(parts) > 1 else ''}"
        earlier = [service for service in work.services if service not in services]
        why = f"earlier runs brought {', '.join(earlier)} to the release there" if earlier else ""
        after = [replace(edge, after=name) for edge in work.after]
        if parts and canaries & set(parts[0].hosts):
            reason = f"canaries of {work.role} go first"
            after.append(Edge(before=parts[0].id, after=name, reason=reason))
        legs = tuple(
            replace(leg, steps=steps)
            for leg in work.legs
            if (steps := tuple(step for step in leg.steps if builder.steps[step].service in services))
        )
        parts.append(
            replace(
                work, id=name, services=services, hosts=tuple(hosts), legs=merged(legs), after=tuple(after),
                canaries=len(canaries & set(hosts)), why="; ".join(text for text in (work.why, why) if text),
            )
        )  # fmt: skip
    # what came after the whole comes after each part; after what was before it, where nothing of it is left
    instead = [part.id for part in parts] or [edge.before for edge in work.after]
    del builder.passes[work.id]
    for name, other in builder.passes.items():
        edges = [edge for edge in other.after if edge.before == work.id]
        if edges:
            kept = [edge for edge in other.after if edge.before != work.id]
            more = [replace(edges[0], before=before) for before in instead]
            builder.passes[name] = replace(other, after=(*kept, *more))
    builder.passes |= {part.id: part for part in parts}
    return [part.id for part in parts]


__all__ = ["Selection", "movers", "once_movers", "problems", "split"]
