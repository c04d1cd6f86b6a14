"""Makes a client from what an operator wrote: the one map from kinds to drivers."""

from __future__ import annotations

from underway_agent.kv.address import Access, read_secret
from underway_agent.kv.base import Kv
from underway_agent.kv.consul import ConsulKv
from underway_agent.kv.etcd import EtcdKv
from underway_agent.kv.http import Servers

TIMEOUT = 10.0
"""Seconds that one call may take over all servers: longer than an election of a new leader, as a rule."""


def open_kv(access: Access, timeout: float = TIMEOUT) -> Kv:
    """A client; nothing is asked yet. Raises ``AddressError`` for a file that cannot be used."""
    servers = Servers(access, timeout)
    if access.address.kind == "consul":
        return ConsulKv(servers, read_secret(access.token, "token") if access.token else "")
    password = read_secret(access.password, "password") if access.password else ""
    return EtcdKv(servers, access.user, password)
