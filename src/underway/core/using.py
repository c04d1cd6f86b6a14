"""Which variables the tasks of a service use, at any distance: a template uses what it is made of. Pure.

Assumption: a variable is used by its name. A name in a comment or a plain text counts too: that is one use too many at
worst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from underway.core.model.base import canonical
from underway.core.model.cluster import Cluster
from underway.core.model.service import Catalogue, Release

_WORD = re.compile(r"[A-Za-z_]\w*")


class Uses:
    """The variables of a cluster at a release, and who uses them. ``release`` None: one of which nothing is known."""

    def __init__(self, cluster: Cluster, catalogue: Catalogue, release: Release | None) -> None:
        self._catalogue = catalogue
        self._made_of: dict[str, set[str]] = {}
        places: list[Mapping[str, Any]] = [service.vars for service in catalogue.services.values()]
        places += [release.vars if release is not None else {}, cluster.settings]
        places += [role.vars for role in cluster.roles.values()]
        places += [host.vars for host in cluster.hosts.values()]
        for place in places:
            for name, value in place.items():
                self._made_of.setdefault(name, set()).update(_words(value))

    def of(self, service: str) -> set[str]:
        """Names that the tasks, handlers and defaults of a service use, and what these are made of."""
        one = self._catalogue.services[service]
        found = _words([one.phases, one.handlers, one.gate]) | one.vars.keys()
        queue: Iterable[str] = set(found)
        while queue:
            more = set[str]().union(*(self._made_of.get(name, ()) for name in queue)) - found
            found |= more
            queue = more
        return found


def _words(value: Any) -> set[str]:
    return set(_WORD.findall(canonical(value).decode()))
