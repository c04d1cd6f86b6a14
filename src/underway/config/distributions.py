"""Names that differ by distribution, as data: ``distributions.yaml`` of a catalogue's directory.

A value there is a variable of its service, called by the service's own name and the key: ``unit`` of ``nova-api`` is
``nova_api_unit``. It takes the place of what the services of that directory and those before it say; what a later
directory says of a service takes its place, and so do settings, roles and hosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from underway.config.documents import ServiceName, Vars
from underway.config.fragment import Fragment
from underway.config.located import Document, Mark, Marks
from underway.config.secrets import variables
from underway.config.words import one_of, shown
from underway.errors import Problem


class DistributionsFile(Fragment):
    """Values of services' variables by distribution."""

    PLACEHOLDERS: ClassVar[dict[str, Any]] = {"distributions": {}, "services": {}}

    distributions: dict[ServiceName, str] = Field(
        description="Distributions by name, each with one whose values it has where it has none of its own, or ''."
    )
    services: dict[ServiceName, dict[str, Vars]] = Field(description="Values by service and distribution.")


@dataclass(frozen=True, slots=True, eq=False)
class Distributions:
    """One such file. ``rank``: the position of its directory in ``catalogue``."""

    doc: Document
    rank: int
    fragment: DistributionsFile

    def line(self, distribution: str) -> list[str]:
        """The distribution and those that it is like, itself first."""
        found: list[str] = []
        while distribution in self.fragment.distributions and distribution not in found:
            found.append(distribution)
            distribution = self.fragment.distributions[distribution]
        return found

    def of(self, service: str, distribution: str) -> Document | None:
        """What is laid over the service there; None where nothing is said of it."""
        values: dict[str, Any] = {}
        marks: Marks = {}
        for name in self.line(distribution):
            for key, value in self.fragment.services.get(service, {}).get(name, {}).items():
                variable = f"{service.replace('-', '_')}_{key}"
                if variable not in values:
                    values[variable] = value
                    mark = self.doc.walk(("services", service, name, key))[1]
                    marks[variable] = mark if mark is not None else Mark((0, 0, None))
        if not values:
            return None
        return Document(self.doc.path, {"vars": values}, {"vars": Mark((0, 0, marks))})

    def problems(self, services: Sequence[str]) -> Iterator[Problem]:
        """What is wrong with it beyond its shape. ``services``: those of all directories."""
        known = sorted(self.fragment.distributions)
        for name, like in self.fragment.distributions.items():
            at = ("distributions", name)
            if like and like not in known:
                hint = one_of(like, known, "distributions")
                yield self.doc.problem(at, "distribution", f"unknown distribution {shown(like)}", hint)
            elif like and name in self.line(like):
                yield self.doc.problem(at, "distribution", f"{shown(name)} is like itself in the end", "leave it empty")
        for service, by_name in self.fragment.services.items():
            if service not in services:
                hint = one_of(service, services, "services")
                message = f"unknown service {shown(service)}"
                yield self.doc.problem(("services", service), "unknown-service", message, hint, of="key")
            for name, values in by_name.items():
                if name not in known:
                    hint = one_of(name, known, "distributions")
                    message = f"unknown distribution {shown(name)}"
                    yield self.doc.problem(("services", service, name), "distribution", message, hint, of="key")
                yield from variables(self.doc, ("services", service, name), values)


def check_distribution(cluster: Document, distribution: str, files: Sequence[Distributions]) -> Iterator[Problem]:
    """That some file of the catalogue knows the distribution that the cluster's file names."""
    known = sorted({name for file in files for name in file.fragment.distributions})
    if distribution and distribution not in known:
        hint = one_of(distribution, known, "distributions") if known else "no directory of 'catalogue' names any"
        message = f"unknown distribution {shown(distribution)}"
        yield cluster.problem(("distribution",), "distribution", message, hint)
