"""The store's contract over real Consul and etcd, of one server and of three."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from contract_store import CHECKS, LASTING, Check, Place, model_machine, name_of
from support.kv import access_to
from support.stores import StoreCluster, kinds_and_counts, store_cluster
from underway.store.base import Store
from underway.store.served import ServedStore
from underway_agent.kv.opening import open_kv

pytestmark = pytest.mark.service

EXAMPLES = 25
"""Sequences of 25 steps that the state machine makes on each; the fast tests make 40 on the store in memory."""

Open = Callable[[], Place]


@pytest.fixture(scope="module", params=kinds_and_counts("stores"))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    kind, count = request.param
    with store_cluster(kind, tmp_path_factory.mktemp("stores"), count=count) as made:
        yield made


@pytest.fixture
def new_place(cluster: StoreCluster, tmp_path: Path) -> Iterator[Open]:
    """Makes places: each a store of its own on the servers. Its handles begin with different servers."""
    with ExitStack() as stack:

        def make() -> Place:
            root = f"tests/{secrets.token_hex(6)}"
            turns = itertools.cycle(range(len(cluster.servers)))

            def connect() -> Store:
                first = next(turns)
                servers = [*cluster.servers[first:], *cluster.servers[:first]]
                store = ServedStore(open_kv(access_to(cluster, tmp_path, servers), timeout=60.0), root)
                stack.callback(store.close)
                return store

            child = (
                "from underway.store.served import ServedStore\n"
                "from underway_agent.kv.address import Access\n"
                "from underway_agent.kv.opening import open_kv\n"
                f"store = ServedStore(open_kv({access_to(cluster, tmp_path)!r}, timeout=60.0), {root!r})"
            )
            return Place(open=connect, child=child)

        yield make


@pytest.mark.parametrize("check", [*CHECKS, *LASTING], ids=name_of)
def test_contract(check: Check, new_place: Open) -> None:
    check(new_place())


def test_any_sequence_does_what_a_dictionary_does(new_place: Open) -> None:
    run_state_machine_as_test(model_machine(new_place, EXAMPLES))
