"""OpenStack as the resources of a Javelin file meet it: connections as the administrator and as each owner."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openstack
from keystoneauth1.exceptions import EndpointNotFound

from underway.checks.javelin.file import Javelin

Notes = dict[str, str]
"""What is remembered of a resource: its ``id``; ``made``: it was made here, so it is ours to remove; ``whole``: nothing
of its making is left to do; and what it must still be."""

READY = 120.0
"""Seconds that an image or a server may take to be ready, or to be gone."""


def key_of(kind: str, spec: dict[str, Any]) -> str:
    """What a resource is called in lines of results and in what is remembered."""
    return f"{kind}/{spec['name']}"


class Wrong(Exception):
    """A resource is not as it was made, or cannot be made; says how."""


class NoService(Exception):
    """The catalogue has no such service: its resources are skipped."""


@dataclass(frozen=True, slots=True)
class Admin:
    """An administrator's account; the password is read from its file."""

    url: str
    user: str
    project: str
    user_domain: str
    project_domain: str
    password_file: Path


@dataclass
class Cloud:
    """Connections, each made when first asked for. ``saved``: what was noted of each resource, by ``kind/name``, as it
    stands in the file ``memory``."""

    admin_account: Admin
    javelin: Javelin
    memory: Path
    saved: dict[str, Notes]
    _connections: dict[str, Any] = field(default_factory=dict)

    def made(self, kind: str, spec: dict[str, Any], id_: str, **more: str) -> None:
        """Remember that a resource was made here: on disk, at once, since this may be killed in the next moment."""
        key = key_of(kind, spec)
        self.saved[key] = {**self.saved.get(key, {}), "id": id_, "made": "yes", **more}
        self.keep()

    def forget(self, key: str) -> None:
        """Remember nothing of a resource any more."""
        if self.saved.pop(key, None) is not None:
            self.keep()

    def keep(self) -> None:
        """Write down what is remembered, whole or not at all."""
        fresh = self.memory.with_name(f"{self.memory.name}.new")
        fresh.write_text(json.dumps(self.saved, indent=1, sort_keys=True))
        fresh.replace(self.memory)

    def admin(self) -> Any:
        """The administrator's connection."""
        account = self.admin_account
        if "" not in self._connections:
            self._connections[""] = openstack.connect(
                load_yaml_config=False,
                load_envvars=False,
                auth_url=account.url,
                username=account.user,
                password=account.password_file.read_text(encoding="utf-8").rstrip("\r\n"),
                project_name=account.project,
                user_domain_name=account.user_domain,
                project_domain_name=account.project_domain,
                identity_api_version="3",
                app_name="underway-javelin",
            )
        return self._connections[""]

    def owner(self, name: str) -> Any:
        """The connection of a user of the file: an administrator's access would mask what is wrong."""
        if name not in self._connections:
            user = self.javelin.user(name)
            domain = self.admin_account.project_domain
            self._connections[name] = openstack.connect(
                load_yaml_config=False,
                load_envvars=False,
                auth_url=self.admin_account.url,
                username=user["name"],
                password=str(user["pass"]),
                project_name=user["tenant"],
                user_domain_name=domain,
                project_domain_name=domain,
                identity_api_version="3",
                app_name="underway-javelin",
            )
        return self._connections[name]

    def of(self, name: str, service: str) -> Any:
        """The same, where the catalogue has a service. Raises NoService."""
        connection = self.owner(name)
        try:
            there = connection.session.get_endpoint(service_type=service, interface="public")
        except EndpointNotFound:
            there = None
        if there is None:
            raise NoService(f"no {service} service in the catalogue")
        return connection

    def path(self, spec: dict[str, Any]) -> Path:
        """The file that a resource is made of."""
        return self.javelin.directory / str(spec.get("imgdir", "")) / str(spec["file"])

    def close(self) -> None:
        """End the connections."""
        for connection in self._connections.values():
            connection.close()
