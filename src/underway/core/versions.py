"""Who runs what: releases by our records, repositories by what the hosts themselves say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from underway.core.model.cluster import Host
from underway.core.words import clean, count, plural, some

REPOSITORIES = "release_repositories"
"""The variable by which tasks, and this page, know the repositories of a release."""

NAMED = 3
"""Hosts that are named in a line."""

TEXT = 120
"""Characters of what a host says of a repository."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Hosts of one role that run the same. ``repositories``: name -> version, as the hosts say; None: they do not say
    (no agent, an old one, or none of ours there). ``differs``: that is not what ``release`` says, as far as we know.
    """

    role: str
    release: str
    repositories: tuple[tuple[str, str], ...] | None
    hosts: tuple[str, ...]
    differs: tuple[str, ...]


def wanted(values: Mapping[str, Any]) -> dict[str, str]:
    """Name -> version of the repositories among the variables of a release; the URL of one without a snapshot."""
    return {one["name"]: one["snapshot"] or one["url"] for one in values.get(REPOSITORIES, ())}


def versions(
    hosts: Mapping[str, Host],
    releases: Mapping[str, str],
    said: Mapping[str, Mapping[str, str]],
    known: Mapping[str, Mapping[str, str]],
) -> tuple[Alike, ...]:
    """Hosts by role and by what they run, the largest group of a role first.

    ``releases``: host -> release; ``said``: host -> what it says of its repositories; ``known``: release -> what it
    says of them (releases of which nothing is known are absent).
    """
    groups: dict[tuple[str, str, tuple[tuple[str, str], ...] | None], list[str]] = {}
    for name, host in hosts.items():
        told = said.get(name)
        cut = None if told is None else tuple(sorted((clean(one, 63), clean(at, TEXT)) for one, at in told.items()))
        groups.setdefault((host.role, releases[name], cut), []).append(name)
    order = {role: place for place, role in enumerate(dict.fromkeys(host.role for host in hosts.values()))}
    found = sorted(groups.items(), key=lambda group: (order[group[0][0]], -len(group[1]), group[0][1]))
    return tuple(
        Alike(role, release, told, tuple(names), tuple(_differences(told, known.get(release))))
        for (role, release, told), names in found
    )


def _differences(told: tuple[tuple[str, str], ...] | None, wanted: Mapping[str, str] | None) -> Iterator[str]:
    if told is None or wanted is None:
        return
    there = dict(told)
    for name, version in sorted(wanted.items()):
        if there.get(name) != version:
            yield f"{name} {there.get(name, 'is not there')}, the release says {version}"
    for name in sorted(there.keys() - wanted.keys()):
        yield f"{name} {there[name]}, the release has no such repository"


def lines(found: tuple[Alike, ...]) -> Iterator[str]:
    """For people: whether all run the same, each group on a line, and who runs something else than the release says."""
    whole = sum(len(one.hosts) for one in found)
    kinds = {(one.release, one.repositories) for one in found}
    yield f"{plural(whole, 'host')}, " + ("all alike" if len(kinds) == 1 else f"{len(kinds)} different versions")
    wide = max((len(one.role) for one in found), default=0)
    for one in found:
        told = "repositories not told"
        if one.repositories is not None:
            told = ", ".join(f"{name} {version}" for name, version in one.repositories) or "no repository of ours"
        yield f"  {one.role:<{wide}}  {count(len(one.hosts))} on {one.release}, {told}: {some(one.hosts, NAMED)}"
    for one in found:
        if one.differs:
            yield f"not as the release says: {some(one.hosts, NAMED)} (role {one.role}): {'; '.join(one.differs)}"
