"""OpenStack as the resources of a Javelin file meet it: connections as the administrator and as each owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openstack
from keystoneauth1.exceptions import EndpointNotFound

from underway.checks.javelin.file import Javelin

READY = 120.0
"""Seconds that an image or a server may take to be ready, or to be gone."""


class Wrong(Exception):
    """A resource is not as it was made; says how."""


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
    """Connections, each made when first asked for. ``saved``: what was noted of each resource, by ``kind/name``."""

    admin_account: Admin
    javelin: Javelin
    saved: dict[str, dict[str, str]]
    _connections: dict[str, Any] = field(default_factory=dict)

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
