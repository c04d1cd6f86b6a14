"""Clients of the servers of ``support.stores``: what our own drivers need to be let in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support.stores import StoreCluster, StoreServer
from underway_agent.kv.address import Access


def secret(directory: Path, name: str, text: str) -> str:
    """The path of a file with a secret, written if it is not there."""
    path = directory / name
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(text + "\n")
    return str(path)


def access_to(
    cluster: StoreCluster,
    directory: Path,
    servers: Sequence[StoreServer] = (),
    *,
    token: str = "",
    password: str = "",
    certificate: bool = True,
) -> Access:
    """The access to ``servers`` in that order (none named: to all); secrets lie in ``directory``.

    ``token``, ``password``: others than the right ones. Without ``certificate`` none of ours is shown.
    """
    given = cluster.access
    endpoints = [one.endpoint for one in servers or cluster.servers]
    transport = endpoints[0].partition("://")[0]
    token, password = token or given.token, password or given.password
    ours = certificate and given.certificate is not None
    return Access(
        url=f"{cluster.kind}+{transport}://" + ",".join(one.partition("://")[2] for one in endpoints),
        ca=str(given.ca or ""),
        certificate=str(given.certificate) if ours else "",
        key=str(given.key) if ours else "",
        token=secret(directory, f"token-{token[:8]}", token) if token else "",
        user=given.user,
        password=secret(directory, f"password-{password[:8]}", password) if password else "",
    )
