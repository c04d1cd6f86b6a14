"""Parameters to settings of the cluster file: a name, a value with its type, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from underway.config import names
from underway.config.words import shown
from underway.errors import Problem
from underway.importers.tripleo.nodes import Node, bare
from underway.importers.tripleo.parameters import Reference

_SECRET = ("password", "passwd", "passphrase", "secret", "token", "private_key", "credential", "credentials", "key")


@dataclass(slots=True)
class Settings:
    """What the tasks of all services read, by the name of its variable.

    ``values``: what goes into the cluster file. ``missing``: names that the operator must set, with the reason.
    ``origins``: type, description and place of each. ``own``: defaults that differ between templates, by service.
    """

    values: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def used_by(self, service: str) -> Mapping[str, Any]:
        """Defaults that are a service's own."""
        return self.own.get(service, {})


def settings_of(found: Iterable[tuple[str, Reference, Node]], given: Mapping[str, Node]) -> Settings:
    """The settings behind references: (service, reference, where it is used). ``given``: what environments set."""
    settings = Settings()
    parameters: dict[str, tuple[str, ...]] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for service, reference, node in found:
        name = reference.variable
        path = (reference.parameter.name, *reference.path)
        if parameters.setdefault(name, path) != path:
            message = f"parameters {shown(parameters[name][0])} and {shown(path[0])} would be one setting, {name}"
            settings.problems.append(Problem(*node.place, "name-clash", message, "rename one of them"))
            continue
        wrong = names.variable(name)
        if wrong is not None:
            settings.problems.append(Problem(*node.place, *wrong))
            continue
        settings.origins.setdefault(name, _origin(reference))
        secret = reference.parameter.hidden or any(name.endswith(f"_{word}") for word in _SECRET)
        if secret:
            settings.missing.setdefault(name, "a secret: encrypt it with ansible-vault encrypt_string")
        elif reference.value is None or reference.value.value is None:
            settings.missing.setdefault(name, "no default, and no environment gives it")
        else:
            value = bare(reference.value)
            if reference.parameter.name in given or settings.values.setdefault(name, value) == value:
                settings.values[name] = value
            else:
                defaults.setdefault(service, {})[name] = value
    settings.own = defaults
    return settings


def _origin(reference: Reference) -> str:
    parameter = reference.parameter
    where = ".".join((parameter.name, *reference.path))
    said = " ".join(parameter.description.split())
    return f"{where} ({parameter.kind}), {parameter.place}" + (f"\n{said}" if said else "")
