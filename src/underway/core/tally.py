"""Down accounting: which hosts are unavailable, counted per role, group, failure domain and in all.

Limits (DESIGN P1, TRUST D1): ``None`` is not 0. No limit stated means 1 for a role and none for groups, domains and
the whole; 0 means held. A percentage is of the unit's own hosts and rounds down; one that was changed mid-run to
less than a host is 0: held, never a host too many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from underway.core.layout import Layout
from underway.core.model.plan import GroupLimits, RoleLimits
from underway.core.model.policy import Limit, Policy

UnitKind = Literal["role", "group", "domain", "total", "parallel"]

NAMED = 3
"""Up to so many unavailable hosts are named in a sentence; more are counted by cause: it must fit a line."""


class Unit:
    """Hosts that share one limit, and those of them that use it now (host -> why, for people)."""

    __slots__ = ("_use", "kind", "limit", "members", "name", "size")

    def __init__(self, kind: UnitKind, name: str, limit: int | None, size: int) -> None:
        self.kind: UnitKind = kind
        self.name = name
        self.limit = limit
        self.size = size
        self.members: dict[str, str] = {}
        self._use = ""

    def add(self, host: str, cause: str) -> None:
        """Count the host, or give it another cause."""
        self.members[host] = cause
        self._use = ""

    def remove(self, host: str) -> None:
        """Count the host no longer; harmless when it was not."""
        if self.members.pop(host, None) is not None:
            self._use = ""

    @property
    def label(self) -> str:
        """``role compute``, ``the whole cluster``."""
        return "the whole cluster" if self.kind == "total" else f"{self.kind} {self.name}"

    def fits(self, counted: bool) -> bool:
        """Whether one more host may be taken; ``counted`` says that it is unavailable already.

        |down ∪ {host}| <= limit (TRUST I1): a host that is down already adds nothing, but does not go over either.
        """
        return self.limit is None or len(self.members) + (not counted) <= self.limit

    def use(self, order: dict[str, int]) -> str:
        """``1 of 1 unavailable (ctrl1 at work)``; worded once for each change."""
        if not self._use:
            self._use = f"{len(self.members)} of {self.limit} unavailable{self.who(order)}"
        return self._use

    def who(self, order: dict[str, int]) -> str:
        """`` (ctrl1 at work, cmp7 failed)``; counts by cause where there are many; empty for none."""
        if not self.members:
            return ""
        if len(self.members) <= NAMED:
            names = sorted(self.members, key=lambda host: order.get(host, len(order)))
            return " (" + ", ".join(f"{name} {self.members[name]}" for name in names) + ")"
        counts: dict[str, int] = {}
        for cause in self.members.values():
            counts[cause] = counts.get(cause, 0) + 1
        return " (" + ", ".join(f"{counts[cause]} {cause}" for cause in sorted(counts)) + ")"


LimitOf = Callable[[Limit | None, int | None, int], int | None]
"""(limit of the policy in force, limit of the plan, hosts) -> hosts that may be unavailable; None: no limit."""


def limit_of(stated: Limit | None, planned: int | None, size: int) -> int | None:
    """A limit changed mid-run replaces the plan's; 0 stays 0 (D1)."""
    return stated.resolve(size) if stated is not None else planned


@dataclass(frozen=True, slots=True)
class Spot:
    """The units that one kind of host counts in; ``wide`` are those that do not depend on its failure domain."""

    wide: tuple[Unit, ...]
    domain: Unit | None
    units: tuple[Unit, ...]
    """All of them, the domain last."""


class Tally:
    """Counts unavailable hosts in every unit they belong to."""

    def __init__(
        self, layout: Layout, policy: Policy, limits: LimitOf = limit_of, dropped: Collection[str] = ()
    ) -> None:
        """``dropped``: hosts that are of no unit any more, so that a percentage is one of those that are left."""
        plan = layout.plan
        self._plan = plan
        sizes: dict[str, int] = {}
        domain_sizes: dict[str, int] = {}
        for host in plan.hosts.values():
            if host.name in dropped:
                continue
            sizes[host.role] = sizes.get(host.role, 0) + 1
            if host.domain:
                domain_sizes[host.domain] = domain_sizes.get(host.domain, 0) + 1
        self.roles: dict[str, Unit] = {}
        for name in (*plan.roles, *(role for role in sizes if role not in plan.roles)):
            size = sizes.get(name, 0)
            planned = _planned(plan.roles[name], size) if name in plan.roles else 1
            self.roles[name] = Unit("role", name, limits(policy.role_limits.get(name), planned, size), size)
        self.groups: dict[str, Unit] = {}
        self._groups_of: dict[str, list[Unit]] = {}
        for name, group in plan.groups.items():
            members = dict.fromkeys((*group.roles, *(role for role, of in plan.roles.items() if of.group == name)))
            size = sum(sizes.get(role, 0) for role in members)
            unit = Unit("group", name, limits(policy.group_limits.get(name), _planned(group, size), size), size)
            self.groups[name] = unit
            for role in members:
                self._groups_of.setdefault(role, []).append(unit)
        whole = sum(sizes.values())
        self.size = whole
        self.total = Unit("total", "total", limits(policy.limit, None, whole), whole)
        self.domains = {
            name: Unit("domain", name, limits(policy.domain_limit, None, size), size)
            for name, size in domain_sizes.items()
        }
        self.by_domain = policy.domain_limit is not None or policy.domains_at_once > 0
        self.down: dict[str, str] = {}
        self.domains_down: dict[str, int] = {}
        self._spots: dict[tuple[str, str], Spot] = {}

    def spot(self, role: str, domain: str) -> Spot:
        """The units of a host of this role and domain."""
        found = self._spots.get((role, domain))
        if found is None:
            wide = (self.roles[role], *self._groups_of.get(role, ()), self.total)
            last = self.domains.get(domain)
            found = Spot(wide, last, wide if last is None else (*wide, last))
            self._spots[role, domain] = found
        return found

    def set(self, host: str, cause: str) -> None:
        """Count the host as unavailable for ``cause``; an empty cause: it is available."""
        if self.down.get(host, "") == cause:
            return
        known = self._plan.hosts[host]
        units = self.spot(known.role, known.domain).units
        was = host in self.down
        if cause:
            self.down[host] = cause
            for unit in units:
                unit.add(host, cause)
        else:
            del self.down[host]
            for unit in units:
                unit.remove(host)
        if known.domain and was != bool(cause):
            count = self.domains_down.get(known.domain, 0) + (1 if cause else -1)
            if count:
                self.domains_down[known.domain] = count
            else:
                del self.domains_down[known.domain]


def _planned(limits: RoleLimits | GroupLimits, size: int) -> int:
    """The plan's limit; never more than its percentage of the hosts that are left."""
    return min(limits.limit, size * limits.percent // 100) if limits.percent else limits.limit


def describe(spot: Spot) -> str:
    """The counts under which a host was granted, for the audit line: ``role web 2 of 3 unavailable with it``."""
    counts = [f"{unit.label} {len(unit.members)} of {unit.limit}" for unit in spot.units if unit.limit is not None]
    return ", ".join(counts) + " unavailable with it" if counts else "no limit"
