"""What really changes between two releases, and which services that concerns. Pure.

Assumptions
    1. A service's ``bits`` say all that it is made of, and the lists all that hosts hold; what neither says is told.
       Settings that its tasks use need not be named: they are found (``core.using``).
Invariants
    1. A service is left out only if it says what it is made of, each kind of that is listed in both releases (of
       several ways in which code comes, that of the cluster's delivery), and none of it differs. All others take part:
       what is not known is not taken for the same.
    2. Every service that takes part has a cause.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate

from underway.core.facts import Facts
from underway.core.model.base import digest
from underway.core.model.cluster import Cluster
from underway.core.model.manifest import KINDS, Kind, Manifest
from underway.core.model.service import Catalogue, Release, Service
from underway.core.names import natural
from underway.core.using import Uses
from underway.core.words import clean, plural

NAMED = 3
"""Changes that a cause names; a number stands for the rest."""

DELIVERED: Mapping[str, Kind] = {"package": "packages", "venv": "environments", "image": "images"}
"""Delivery of a cluster -> the kind of list that its code is in."""

TEXT = 60
"""Characters of a version that a sentence shows."""


@dataclass(frozen=True, slots=True)
class Change:
    """One item of a list that differs: ``before`` and ``after`` are what there was and is of it, empty for nothing."""

    kind: Kind
    item: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def text(self) -> str:
        """``package keystone 27.0 to 29.1``; of a setting or a file, which digests tell apart, only that it differs."""
        item = self.item
        if self.kind in ("environments", "images"):
            item = item.replace(":", " ", 1)
        what = f"{KINDS[self.kind]} {clean(item, 120)}"
        if not self.before or not self.after:
            return f"{what} is {'new' if self.after else 'gone'}"
        if self.kind in ("settings", "images"):
            return f"{what} differs"
        return f"{what} {_versions(self.before)} to {_versions(self.after)}"


def _versions(found: Sequence[str]) -> str:
    return "/".join(clean(one, TEXT) for one in found[:NAMED])


@dataclass(frozen=True, slots=True)
class Changes:
    """``known``: whether both releases have lists at all. ``causes``: service -> why it takes part, of those that do.
    ``same``: services that take no part, as nothing of them differs. ``unclaimed``: what differs and is no service's.
    """

    known: bool = False
    causes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    same: tuple[str, ...] = ()
    unclaimed: tuple[Change, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For machines: all of it."""
        return {
            "services": {name: list(causes) for name, causes in self.causes.items()},
            "same": list(self.same),
            "unclaimed": [
                {"kind": one.kind, "item": one.item, "before": list(one.before), "after": list(one.after)}
                for one in self.unclaimed
            ],
        }


def compare(old: Manifest, new: Manifest) -> dict[Kind, tuple[Change, ...]]:
    """What differs, of each kind that both list; in the order of names."""
    found: dict[Kind, tuple[Change, ...]] = {}
    for kind in KINDS:
        if kind not in old.lists or kind not in new.lists:
            continue
        before, after = old.lists[kind], new.lists[kind]
        names = sorted(before.keys() | after.keys(), key=natural)
        found[kind] = tuple(
            Change(kind, name, tuple(sorted(before.get(name, ()))), tuple(sorted(after.get(name, ()))))
            for name in names
            if set(before.get(name, ())) != set(after.get(name, ()))
        )
    return found


def settings_of(cluster: Cluster, release: Release | None) -> dict[str, tuple[str, ...]]:
    """The list ``settings`` of a cluster at a release: name -> digests of the values that it has anywhere.

    Under settings lie the release's variables; roles and hosts may say it otherwise, so there may be several.
    """
    found: dict[str, set[str]] = {}
    base = {**(release.vars if release is not None else {}), **cluster.settings}
    places = [base, *(role.vars for role in cluster.roles.values()), *(host.vars for host in cluster.hosts.values())]
    for place in places:
        for name, value in place.items():
            found.setdefault(name, set()).add(digest([value])[:32])
    return {name: tuple(sorted(digests)) for name, digests in sorted(found.items())}


def changes(
    cluster: Cluster, catalogue: Catalogue, target: Release, services: Sequence[str], others: Collection[str] = ()
) -> Changes:
    """Which of ``services`` (those that the release lists) really change, and why.

    What is installed is what the release that the cluster runs says it holds; without its lists, or those of
    ``target``, nothing is left out. ``others``: releases of hosts that do not run the cluster's: where there is one
    beside the target nothing is left out either, for what those hosts hold was not compared.
    """
    source = catalogue.releases.get(cluster.release)
    if source is None or source.manifest is None or target.manifest is None:
        return Changes()
    if source.name == target.name or not {target.name}.issuperset(others):
        return Changes()
    old, new = source.manifest, Manifest(lists={**target.manifest.lists, "settings": settings_of(cluster, target)})
    found = compare(old, new)
    once = old.lists.keys() ^ new.lists.keys()
    uses = Uses(cluster, catalogue, target) if found.get("settings") else None
    causes: dict[str, tuple[str, ...]] = {}
    claimed: set[tuple[Kind, str]] = set()
    for name in services:
        service = catalogue.services[name]
        mine = [one for kind, listed in found.items() for one in _matching(service.bits.get(kind, ()), listed)]
        used = uses.of(name) if uses is not None else ()
        mine += [one for one in found.get("settings", ()) if one.item in used and one not in mine]
        claimed.update((one.kind, one.item) for one in mine)
        missing = [kind for kind in _required(service, cluster.delivery, once) if kind not in found]
        texts = [*_unknown(service, missing, source.name, target.name), *_versions_of(name, source, target)]
        shown = [one.text for one in mine[:NAMED]]
        more = len(mine) - len(shown)
        texts += [*shown, *([f"{more} more"] if more else [])]
        if texts:
            causes[name] = tuple(texts)
    same = tuple(name for name in services if name not in causes)
    unclaimed = [
        one for kind, listed in found.items() if kind != "settings" for one in listed if (kind, one.item) not in claimed
    ]
    return Changes(True, causes, same, tuple(unclaimed))


def real_changes(facts: Facts) -> Changes:
    """``changes`` of the services that the planner found the release to change."""
    return changes(facts.cluster, facts.catalogue, facts.release, facts.services, facts.releases.values())


def _matching(patterns: Sequence[str], listed: Sequence[Change]) -> Iterator[Change]:
    """Changes whose item, or the part of it behind the name of its environment or image, fits one of the patterns."""
    if not patterns or not listed:
        return
    fits = re.compile("|".join(f"(?:{translate(pattern)})" for pattern in patterns)).match
    for one in listed:
        inside = one.item.partition(":")[2] if one.kind in ("environments", "images") else ""
        if fits(one.item) or (inside and fits(inside)):
            yield one


def _required(service: Service, delivery: str, once: Collection[Kind]) -> Iterator[Kind]:
    """Kinds of a service's bits that must be listed before it can be left out.

    It may name several ways by which its code comes: then that of the cluster's delivery must be, and of the others
    what one of the releases lists at all (``once``: only one of them does).
    """
    ways = [kind for kind in service.bits if kind in DELIVERED.values()]
    way = DELIVERED.get(delivery)
    for kind in service.bits:
        if kind not in ways or way not in ways or kind == way or kind in once:
            yield kind


def _unknown(service: Service, missing: Sequence[Kind], source: str, target: str) -> Iterator[str]:
    """What is not known of a service, and would have to be for leaving it out."""
    if not service.bits:
        yield "it does not say what it is made of (bits)"
    if missing:
        yield f"{' and '.join(missing)} of {source} or {target} are not listed"


def _versions_of(name: str, source: Release, target: Release) -> Iterator[str]:
    before, after = source.services.get(name), target.services.get(name)
    if before is not None and after is not None and before != after:
        yield f"version {before} to {after}"


def unclaimed_text(found: Sequence[Change], target: str) -> str:
    """What differs and belongs to no service, as a warning."""
    named = "; ".join(one.text for one in found[:NAMED])
    more = f"; {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return f"changes with {target}, but no service says that it is made of it: {named}{more}"


def report(found: Changes, source: str, target: str) -> Iterator[str]:
    """For people: each service that changes with its causes, those that do not, and what belongs to none."""
    total = len(found.causes) + len(found.same)
    yield f"{source} to {target}: {len(found.causes)} of {plural(total, 'service')} change"
    wide = max(map(len, found.causes), default=0)
    for name, causes in found.causes.items():
        yield f"  {name:<{wide}}  {'; '.join(causes)}"
    if found.same:
        yield f"nothing of what they are made of changes: {', '.join(found.same)}"
    if found.unclaimed:
        yield unclaimed_text(found.unclaimed, target)
