"""Variables of snippets: where each is defined, for each distribution (A18). Pure.

The original loaded ``vars/<ansible_distribution>`` on each host, and ``group_vars/all``, made of the environment's
``config``. Here each becomes a setting with its origin, and one that is defined nowhere is found before anything is
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from underway.config import names
from underway.config.located import VAULT_KEY, Document
from underway.config.secrets import SECRET_NAME
from underway.errors import Problem
from underway.importers.spinalstack.scenario import Sources

FROM_CONFIG: Mapping[str, tuple[str, ...]] = {
    "version": ("next_version",),
    "stable": ("current_version",),
    "os_username": (),
    "os_tenant_name": ("ks_admin_tenant",),
    "os_password": ("ks_admin_password",),
    "os_auth_url": ("endpoint_protocol", "vip_public_fqdn"),
    "galera_vip": ("galera_ip",),
    "edeploy_master": ("edeploy_master",),
    "erlang_cookie": ("erlang_cookie",),
}
"""``group_vars/all`` -> the keys of ``config`` that it is made of."""

OF_RELEASE = frozenset({"version", "stable"})
"""What changes with each release, and so stands in its file."""

SECRETS = frozenset({"os_password", "erlang_cookie"})


@dataclass(frozen=True, slots=True)
class Definition:
    """A value and where it comes from, for the comment beside it and for messages."""

    value: Any
    origin: str
    document: Document | None = None
    loc: tuple[str | int, ...] = ()

    @property
    def sealed(self) -> bool:
        """Whether it is encrypted already."""
        return isinstance(self.value, dict) and set(self.value) == {VAULT_KEY}


@dataclass(slots=True)
class Definitions:
    """All definitions: ``everywhere`` and by distribution."""

    everywhere: dict[str, Definition] = field(default_factory=dict)
    distributions: dict[str, dict[str, Definition]] = field(default_factory=dict)
    expected: frozenset[str] = frozenset()
    """Names that the environment would define; it was not given."""
    problems: list[Problem] = field(default_factory=list)

    def missing(self, name: str) -> list[str]:
        """Distributions without ``name``; ``[""]`` where there is no distribution at all."""
        if name in self.everywhere or name in self.expected:
            return []
        if not self.distributions:
            return [""]
        return [one for one, values in self.distributions.items() if name not in values]

    def known(self) -> set[str]:
        """All names, for suggestions."""
        return set(self.everywhere).union(*self.distributions.values()) | self.expected

    def secret(self, name: str) -> bool:
        """Whether a variable's value must not stand in a file openly."""
        return name in SECRETS or SECRET_NAME.search(name) is not None


def definitions(
    sources: Sources, with_environment: bool, shared: Mapping[str, Document], files: Mapping[str, Document]
) -> Definitions:
    """``files``: files of variables by distribution; ``shared``: those of all hosts (``group_vars/all``), by path."""
    found = Definitions()
    config = sources.value.get("config")
    if isinstance(config, dict):
        _from_config(found, sources, config)
    # a release that is missing is told as such
    found.expected = OF_RELEASE if with_environment else frozenset(FROM_CONFIG) - set(found.everywhere)
    for document in shared.values():
        found.everywhere.update(_from_file(found, document))
    for distribution, document in files.items():
        found.distributions[distribution] = _from_file(found, document)
    return found


def _from_config(found: Definitions, sources: Sources, config: Mapping[str, Any]) -> None:
    for name, keys in FROM_CONFIG.items():
        values = [config.get(key) for key in keys]
        if any(value is None for value in values):
            continue
        places = [sources.document(("config", key)) for key in keys]
        origin = ", ".join(
            f"config.{key} of {place.path}:{place.place(('config', key))[0]}"
            for key, place in zip(keys, places, strict=True)
        )
        value: Any = values[0] if keys else "admin"
        if name == "os_auth_url":
            value = f"{values[0]}://{values[1]}:5000/v2.0"
        place = places[0] if places else None
        found.everywhere[name] = Definition(
            value, origin or "the administrator, as group_vars/all has it", place, ("config", *keys[:1])
        )


def _from_file(found: Definitions, document: Document) -> dict[str, Definition]:
    found.problems += document.problems
    result: dict[str, Definition] = {}
    for name, value in document.value.items():
        wrong = names.variable(name)
        if wrong:
            found.problems.append(document.problem((name,), *wrong, of="key"))
            continue
        line = document.place((name,), "key")[0]
        result[name] = Definition(value, f"{document.path}:{line}", document, (name,))
    return result
