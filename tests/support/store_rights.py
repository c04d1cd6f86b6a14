"""Tokens of Consul and users of etcd with less than all rights, for tests of least privilege."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.kv import access_to
from support.store_programs import Access, Answer
from support.stores import StoreCluster, StoreServer
from underway_agent.kv.address import Access as UnderwayAccess


def consul_token(server: StoreServer, name: str, rules: str) -> Access:
    """Access with a new token that may do what ``rules`` (Consul's policy language) say."""
    _did(_sent(server, "PUT", "/v1/acl/policy", {"Name": name, "Rules": rules}))
    answer = _did(_sent(server, "PUT", "/v1/acl/token", {"Description": name, "Policies": [{"Name": name}]}))
    return replace(server.cluster.access, token=answer.json()["SecretID"])


def etcd_user(server: StoreServer, name: str, permissions: Iterable[tuple[str, str]]) -> Access:
    """Access as a new user with these permissions: (``READ``, ``WRITE`` or ``READWRITE``, prefix of keys)."""
    password = f"{name}-password"
    _did(_sent(server, "POST", "/v3/auth/role/add", {"name": name}))
    for kind, prefix in permissions:
        permission = {"permType": kind, "key": _base64(prefix.encode()), "range_end": _base64(_after(prefix))}
        _did(_sent(server, "POST", "/v3/auth/role/grant", {"name": name, "perm": permission}))
    _did(_sent(server, "POST", "/v3/auth/user/add", {"name": name, "password": password}))
    _did(_sent(server, "POST", "/v3/auth/user/grant", {"user": name, "role": name}))
    return replace(server.cluster.access, user=name, password=password)


def actor(cluster: StoreCluster, directory: Path, name: str, text: str) -> UnderwayAccess:
    """Access with the rights that the program printed as ``text``: Consul takes them as they are, of etcdctl's
    commands each is done by the interface that etcdctl uses. Secrets lie in ``directory``."""
    server = cluster.servers[0]
    if cluster.kind == "consul":
        given = consul_token(server, name, text)
    else:
        given = etcd_user(server, name, [])
        first, *grants = (shlex.split(line) for line in text.splitlines())
        assert first[:3] == ["etcdctl", "role", "add"] and len(first) == 4
        for words in grants:
            tree = "--prefix=true" in words
            head, (kind, key) = words[:4], words[5 if tree else 4 :]
            assert head == ["etcdctl", "role", "grant-permission", first[3]]
            permission = {"permType": kind.upper(), "key": _base64(key.encode())}
            if tree:
                permission["range_end"] = _base64(_after(key))
            _did(_sent(server, "POST", "/v3/auth/role/grant", {"name": name, "perm": permission}))
    directory.mkdir(parents=True)
    return access_to(replace(cluster, access=given), directory)


def _after(prefix: str) -> bytes:
    """The first key after all that begin with the prefix (whose last byte is ASCII)."""
    content = prefix.encode()
    return content[:-1] + bytes([content[-1] + 1])


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _sent(server: StoreServer, method: str, path: str, content: dict[str, Any]) -> Answer:
    return server.request(method, path, json.dumps(content).encode())


def _did(answer: Answer) -> Answer:
    assert answer.status == 200, f"{answer.status} {answer.body!r}"
    return answer
