"""The contract of a key-value server on real Consul and etcd, of one server and of three."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_kv import CHECKS, Check, Place, name_of
from support.kv import access_to
from support.stores import StoreCluster, kinds_and_counts, store_cluster
from underway_agent.kv.base import Kv
from underway_agent.kv.opening import open_kv

pytestmark = pytest.mark.service

TTL = {"consul": (10.0, 90.0), "etcd": (2.0, 60.0)}
"""The shortest lease, and when it must be over (Consul's may live twice as long, and longer after an election)."""


@pytest.fixture(scope="module", params=kinds_and_counts("kv"))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    kind, count = request.param
    with store_cluster(kind, tmp_path_factory.mktemp("kv"), count=count) as made:
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check: Check, cluster: StoreCluster, tmp_path: Path) -> None:
    async def story() -> None:
        made: list[Kv] = []
        turns = itertools.cycle(range(len(cluster.servers)))

        def connect() -> Kv:
            first = next(turns)
            servers = [*cluster.servers[first:], *cluster.servers[:first]]
            made.append(open_kv(access_to(cluster, tmp_path, servers), timeout=60.0))
            return made[-1]

        ttl, grace = TTL[cluster.kind]
        try:
            await check(Place(connect, f"tests/{secrets.token_hex(6)}/", ttl, grace))
        finally:
            for kv in made:
                await kv.close()

    asyncio.run(asyncio.wait_for(story(), 300.0))
