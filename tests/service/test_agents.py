"""Hosts that fetch their work, for real: agents over HTTPS, real Ansible, kill -9 of everything that carries it."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fleet import EFFECTS, Fleet
from support.kv import access_to
from support.stores import KINDS, store_cluster

pytestmark = [pytest.mark.service, pytest.mark.slow]

SEED = int(os.environ.get("UNDERWAY_SEED", "20261121"))


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Its limit may be given as a parameter."""
    made = Fleet(tmp_path / "fleet", limit=getattr(request, "param", 0))
    made.make()
    made.serve()
    for host in made.hosts:
        made.enrol(host)
    yield made
    made.close()


def judged(fleet: Fleet) -> dict[str, object]:
    """Every step ended once on every host, by what the steps did and by the hosts' journals; the report agrees."""
    for host in fleet.hosts:
        assert fleet.effects(host) == EFFECTS, f"{host}: {fleet.effects(host)}"
        ended = Counter(line["step"] for line in fleet.journal(host) if line["kind"] == "end")
        assert all(count == 1 for count in ended.values()) and len(ended) == len(EFFECTS), ended
    said: dict[str, object] = json.loads(fleet.underway("report", "--json"))
    assert fleet.underway("audit", "verify")
    states = json.loads(fleet.underway("status", "--json"))
    assert states["run_state"] == "done" if "run_state" in states else True
    mirrors = list((fleet.root / ".underway" / "runs").glob("*/journals/*.jsonl"))
    for path in mirrors:
        mirrored = [json.loads(raw)["seq"] for raw in path.read_bytes().splitlines()]
        assert mirrored == [line["seq"] for line in fleet.journal(path.stem)], "the copy of a journal has gaps"
    assert len(mirrors) == len(fleet.hosts)
    return said


def test_an_upgrade_is_fetched_by_three_hosts(fleet: Fleet) -> None:
    for host in fleet.hosts:
        fleet.agent(host)
    assert fleet.upgrade().wait(600) == 0, fleet.told()
    judged(fleet)
    listed = json.loads(fleet.underway("host", "list", "--json"))
    assert [(one["host"], one["state"], one["protocol"]) for one in listed] == [
        (host, "enrolled", 1) for host in fleet.hosts
    ]
    fleet.underway("host", "revoke", "web3", "--reason", "its disk was sold")
    assert "the agent of web3 was revoked: its disk was sold" in fleet.underway("log")
    _leaves_and_comes_back(fleet)
    assert fleet.underway("audit", "verify")
    fleet.end("serve")
    assert "Traceback" not in fleet.told()


def _leaves_and_comes_back(fleet: Fleet) -> None:
    """web2 is dropped: its agent is told, and it counts again only as one that is enrolled anew."""
    assert "3 on 1.0" not in (who := fleet.underway("status", "--versions")) and "no repository of ours" in who, who
    fleet.underway("drop", "web2", "--reason", "its mainboard burnt")
    fleet.wait(lambda: "was revoked: web2 was dropped: its mainboard burnt" in fleet.log("agent-web2"))
    seen = json.loads(fleet.underway("status", "--json"))
    assert [row["host"] for row in seen["dropped"]] == ["web2"] and seen["behind"] == []
    assert seen["unregistered"] == [] and seen["strangers"] == {"agents": [], "records": []}
    fleet.end("agent-web2")
    fleet.enrol("web2")
    assert json.loads(fleet.underway("status", "--json"))["dropped"] == []
    assert "web2 counts again: a new machine was enrolled there" in fleet.underway("log")


@pytest.mark.parametrize("fleet", [1], indirect=True, ids=["one at a time"])
def test_everything_that_carries_the_work_is_killed(
    fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """Agents, server and coordinator die at random moments and begin again: no step is lost, none is done twice."""
    chance = random.Random(SEED)
    kills: Counter[str] = Counter()
    round_of: list[str] = []
    for host in fleet.hosts:
        fleet.agent(host)
    coordinator = fleet.upgrade()
    began = time.monotonic()
    while time.monotonic() - began < 900:
        time.sleep(chance.uniform(0.2, 1.5))
        if coordinator.poll() is not None:
            if coordinator.returncode == 0:
                break
            assert coordinator.returncode in (5, -signal.SIGKILL), fleet.told()
            coordinator = fleet.upgrade()
            continue
        round_of = round_of or chance.sample([f"agent-{chance.choice(fleet.hosts)}", "serve", "coordinator"], 3)
        victim = round_of.pop()  # each kind in turn: a quick machine leaves time for few
        kills[victim.partition("-")[0]] += 1
        fleet.end(victim, signal.SIGKILL)
        if victim == "serve":
            fleet.serve()
        elif victim == "coordinator":
            time.sleep(chance.uniform(0.0, 1.0))
            before = len(fleet.log("coordinator"))
            coordinator = fleet.upgrade()
            # it must get somewhere at all, on however slow a machine
            fleet.wait(lambda: len(fleet.log("coordinator")) > before or coordinator.poll() is not None)  # noqa: B023
        else:
            fleet.agent(victim.removeprefix("agent-"))
    assert coordinator.poll() == 0, fleet.told()
    judged(fleet)
    record_property(
        "figures", f"agents, seed {SEED}: killed {dict(kills)} in {time.monotonic() - began:.0f} s, 3 hosts"
    )
    assert sum(kills.values()) >= 6 and len(kills) == 3, f"the faults did not bite: {kills}"


def test_a_host_whose_agent_is_gone_keeps_its_slot_until_it_speaks(fleet: Fleet) -> None:
    """P7: silence is no end. The server goes while hosts are at work; they finish, and say so when it is back."""
    for host in fleet.hosts:
        fleet.agent(host)
    coordinator = fleet.upgrade()
    fleet.wait(lambda: sum(bool(fleet.effects(host)) for host in fleet.hosts))
    fleet.end("serve", signal.SIGKILL)
    fleet.wait(
        lambda: any(fleet.journal(host) and fleet.journal(host)[-1]["kind"] == "leg-end" for host in fleet.hosts)
    )
    time.sleep(5)
    counted = [len([line for line in fleet.journal(host) if line["kind"] == "accepted"]) for host in fleet.hosts]
    time.sleep(5)
    assert coordinator.poll() is None
    assert counted == [
        len([line for line in fleet.journal(host) if line["kind"] == "accepted"]) for host in fleet.hosts
    ], "a host began something that nobody could have told it of"
    fleet.serve()
    assert coordinator.wait(600) == 0, fleet.told()
    judged(fleet)


@pytest.mark.parametrize("kind", KINDS)
def test_agents_ask_the_store_itself_while_one_of_three_servers_dies(kind: str, tmp_path: Path) -> None:
    """The records in three servers, agents that ask these and not ``underway serve``; an agent, the coordinator and a
    server are killed on the way."""
    with store_cluster(kind, tmp_path, count=3) as cluster:
        access = access_to(cluster, tmp_path)
        store = {"url": access.url}
        fleet = Fleet(tmp_path / "fleet", store=json.dumps({"url": access.url}))
        try:
            fleet.make()
            fleet.serve()
            for host in fleet.hosts:
                fleet.enrol(host)
                path = fleet.root / "agents" / host / "agent.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "store": store}))
            fleet.end("serve")
            for host in fleet.hosts:
                fleet.agent(host)
            coordinator = fleet.upgrade()
            fleet.wait(lambda: any(fleet.effects(host) for host in fleet.hosts))
            cluster.leader().kill()
            fleet.end("agent-web1", signal.SIGKILL)
            fleet.agent("web1")
            fleet.wait(lambda: sum(len(fleet.effects(host)) for host in fleet.hosts) >= 5)
            fleet.end("coordinator", signal.SIGKILL)
            coordinator = fleet.upgrade()
            assert coordinator.wait(900) == 0, fleet.told()
            judged(fleet)
            assert "connected to " + kind in fleet.log("agent-web1")
        finally:
            fleet.close()
