"""A Javelin file: what is in it, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underway.config.reading import MAX_SMALL_BYTES, read
from underway.errors import InputError

KINDS = (
    "tenants",
    "users",
    "secgroups",
    "images",
    "networks",
    "subnets",
    "routers",
    "volumes",
    "servers",
    "objects",
)
"""In the order in which they are made; they are destroyed in the other."""

NOT_LOOKED_AT = ("telemetry",)
"""Kinds of the format for which no service exists any more."""

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "users": ("name", "pass", "tenant"),
    "secgroups": ("name", "owner"),
    "images": ("name", "owner", "file"),
    "networks": ("name", "owner"),
    "subnets": ("name", "owner", "network", "range"),
    "routers": ("name", "owner"),
    "volumes": ("name", "owner", "gb"),
    "servers": ("name", "owner", "flavor"),
    "objects": ("container", "name", "owner", "file"),
}

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Javelin:
    """The resources of a file, by kind; ``directory`` is where files that it names lie. ``unknown``: kinds that nobody
    looks at."""

    directory: Path
    specs: Mapping[str, tuple[Spec, ...]]
    unknown: tuple[str, ...]

    def user(self, name: str) -> Spec:
        """The user of a name (the file was checked)."""
        return next(user for user in self.specs["users"] if user["name"] == name)

    def secrets(self) -> tuple[str, ...]:
        """The passwords of its users."""
        return tuple(str(user["pass"]) for user in self.specs["users"])


def load(path: Path) -> Javelin:
    """Read a file. Raises InputError that names the file, the part and what is wrong."""
    value = read(path, str(path), MAX_SMALL_BYTES).value
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected kinds of resources ({', '.join(KINDS)})")
    specs = {kind: tuple(_specs(path, kind, value.get(kind) or ())) for kind in KINDS}
    tenants = {spec["name"] for spec in specs["tenants"]}
    users = {spec["name"] for spec in specs["users"]}
    for kind, rows in specs.items():
        for spec in rows:
            owner = spec.get("owner")
            if kind not in ("tenants", "users") and owner not in users:
                raise InputError(f"{path}: {kind}: {spec['name']}: owner: expected a user of the file, found {owner!r}")
            if kind == "users" and spec["tenant"] not in tenants:
                raise InputError(
                    f"{path}: users: {spec['name']}: tenant: expected a tenant of the file, found {spec['tenant']!r}"
                )
    return Javelin(path.parent, specs, tuple(sorted(set(map(str, value)) - set(KINDS))))


def _specs(path: Path, kind: str, listed: Any) -> list[Spec]:
    if not isinstance(listed, list | tuple):
        raise InputError(f"{path}: {kind}: expected a list")
    found: list[Spec] = []
    for index, one in enumerate(listed):
        spec: Spec = {"name": one} if kind == "tenants" and isinstance(one, str) else one
        if not isinstance(spec, dict):
            raise InputError(f"{path}: {kind}[{index}]: expected keys and values")
        for key in ("name", *_NEEDS.get(kind, ())):
            if not spec.get(key):
                raise InputError(f"{path}: {kind}[{index}]: '{key}' is missing")
        if any(spec["name"] == other["name"] for other in found):  # what is remembered of it is remembered by its name
            raise InputError(f"{path}: {kind}[{index}]: name: expected one of its own, found {spec['name']!r} again")
        found.append(spec)
    return found
