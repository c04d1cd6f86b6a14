"""A thief of the store makes no host do anything: on real servers, against a real agent process and the real runner.

He writes whatever he likes where the agent looks: orders that are forged, redirected, replayed or cut, letters that are
none, more of them than anybody can read. Nothing is run; the agent lives, says in few words what it refused, and does
the next order of its coordinator. (The same in the agent's own process, and more of it: ``test_agent_near``; what a
letter may look like: ``tests/fast/agents/test_hostile_letters``.)
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect
from support import store_rights
from support.kv import access_to
from support.near_agent import Near, open_order, sha, until_ended, wait_until
from support.stores import KINDS, StoreCluster, store_cluster
from underway.app.rights import rights_of, rights_of_agent, words
from underway.executors.mail import ORDERS, REPORTS, put_blob
from underway.store.served import ServedStore
from underway_agent import identity, letters
from underway_agent.kv.address import Access
from underway_agent.kv.opening import open_kv
from underway_agent.letters import OpenOrder, Orders, Part
from underway_agent.places import place
from underway_agent.saying import AT_ONCE, LENGTH

pytestmark = pytest.mark.service

ROOT = "underway/demo"
MAIL = f"{ROOT}/mail"


class Site:
    """A cluster's store on a real server, a coordinator with its rights, host ``h1`` with its own, and a thief."""

    def __init__(self, cluster: StoreCluster, root: Path) -> None:
        kind = cluster.kind
        self.log, self.effects_file = root / "agent.log", root / "effects"
        self.kit = Kit(root, [{"id": "web.upgrade.one", "tasks": [effect(self.effects_file, "one")]}])
        operator = store_rights.actor(
            cluster, root / "operator", "operator", words(kind, "operator", rights_of("operator", ROOT, "demo"))
        )
        own = store_rights.actor(cluster, root / "own", "h1", words(kind, "h1", rights_of_agent("h1", MAIL)))
        self.store = ServedStore(open_kv(operator), ROOT)
        self.near = Near(root, self.kit, self.store)
        (root / "thief").mkdir()
        self.thief = access_to(cluster, root / "thief")
        directory = self.near.identity.directory
        identity.write_private(directory / "token", "none\n")
        identity.save(
            directory, dataclasses.replace(self.near.identity.settings, mail_root=MAIL, store=settings_of(own))
        )
        with self.log.open("wb") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "underway_agent", "run", "--dir", str(directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.agent.terminate()
        self.agent.wait(60)
        self.near.close()
        self.store.close()

    def said(self) -> list[str]:
        """What the agent said, line by line."""
        return self.log.read_text().splitlines()

    def effects(self) -> list[str]:
        return self.effects_file.read_text().split() if self.effects_file.exists() else []

    def steal(self, *contents: bytes) -> None:
        """Write these, one after another, where the agent looks for its orders."""

        async def story() -> None:
            kv = open_kv(self.thief)
            try:
                for data in contents:
                    await kv.txn({}, {place(MAIL, ORDERS + "h1"): data})
            finally:
                await kv.close()

        asyncio.run(story())

    def report(self) -> letters.Reported | None:
        """The host's own last letter."""
        found = self.near.mail.get(REPORTS + "h1")
        if found is None:
            return None
        return letters.read_report(self.near.enrolments.verify("h1", letters.REPORT_TYPE, found.data))

    def refusals(self) -> dict[int, str]:
        """By token, why the orders that it sees were refused."""
        report = self.report()
        return {} if report is None else {one.token: one.text for one in report.standings if one.kind == "refused"}

    def tokens(self) -> list[int]:
        """Of all that the runner ever accepted."""
        return sorted(line["token"] for line in self.kit.journal() if line["kind"] == "accepted")

    def upgrade(self, token: int) -> bytes:
        """An honest order, to its end; the letter that it came by."""
        executor = self.near.executor()
        executor.submit(self.near.order(token))
        executor.reports(0)
        kept = self.near.mail.get(ORDERS + "h1")
        assert kept is not None and until_ended(executor)[-1].kind == "finished", self.said()
        executor.reports(0)
        return kept.data


def settings_of(access: Access) -> dict[str, Any]:
    return {name: value for name, value in vars(access).items() if value and name != "address"}


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with store_cluster(request.param, tmp_path, auth=True) as cluster:
        made = Site(cluster, tmp_path)
        yield made
        made.close()


def test_nothing_that_a_thief_writes_is_done(site: Site, tmp_path: Path) -> None:
    wait_until(lambda: any("connected to" in line for line in site.said()))
    honest = site.near.order()
    forged, plans = forgeries(site, tmp_path)
    for plan in plans:
        put_blob(site.near.mail, sha(plan), plan)
    put_blob(site.near.mail, "ab" * 32, b"bytes that are not those of their name")

    # forged, redirected, cut: all at once, each under a token of its own
    orders = [dataclasses.replace(order, token=token) for token, (order, _) in enumerate(forged.values(), 100)]
    site.steal(letters.write_orders(Orders(tuple(orders))))
    wait_until(lambda: len(site.refusals()) == len(orders))
    for token, (name, (_, why)) in enumerate(forged.items(), 100):
        assert why in site.refusals()[token], f"{name}: {site.refusals()[token]}"
    assert site.tokens() == [] and site.effects() == []
    told = [line for line in site.said() if line.startswith("refused control/web/h1 of run r1, token")]
    assert 0 < len(told) <= AT_ONCE

    # the coordinator's own orders, then those of before put back
    first = site.upgrade(1)
    second = site.upgrade(2)
    done = site.effects()
    assert site.tokens() == [1, 2]
    site.steal(first)
    wait_until(lambda: "is stale" in site.refusals().get(1, ""))
    site.steal(second)
    wait_until(lambda: (report := site.report()) and [one.kind for one in report.standings] == ["finished"])
    assert (site.tokens(), site.effects()) == ([1, 2], done), "an order that was put back was done again"

    # letters that are none, faster than anybody reads
    rubbish = [
        b"", b"\xff\xfe", first[:-30], b"[]", b'{"protocol":9,"orders":[],"since":0}', b'{"protocol":1}',
        b'{"protocol":1,"since":0,"orders":[{"run":7}]}', b'{"protocol":1,"since":0,"orders":{}}', b"[" * 100_000,
        b'{"protocol":1,"since":0,"orders":[],"x":"' + b"x" * letters.LARGEST + b'"}',
        letters.write_orders(Orders(tuple(open_order(honest, token=token) for token in range(200, 240)))),
        letters.write_orders(Orders((open_order(honest, token=300, cancel=b"\x1b[2Jnot signed"),))),
    ]  # fmt: skip
    site.steal(*rubbish * 10)
    site.steal(*rubbish[:2])
    wait_until(lambda: (report := site.report()) and report.trouble)
    report = site.report()
    assert report is not None and "is not JSON" in report.trouble

    # nothing was begun, it lives, it said so in bounds, and does what its coordinator says
    assert site.agent.poll() is None, site.said()
    site.upgrade(400)
    assert site.tokens() == [1, 2, 400]
    said = site.said()
    assert max(map(len, said)) <= LENGTH + 100 and all(line.isprintable() for line in said)
    assert len(said) < 3 * AT_ONCE, "a host's log grows with what a thief writes"
    assert not [line for line in said if "Traceback" in line or "the agent failed" in line]


def forgeries(site: Site, tmp_path: Path) -> tuple[dict[str, tuple[OpenOrder, str]], list[bytes]]:
    """Orders that no runner may take, and the words that tell why; with the plans that they name."""
    mine = site.near.order()
    (tmp_path / "evil").mkdir()
    evil = Kit(tmp_path / "evil", [{"id": "web.upgrade.one", "tasks": [effect(site.effects_file, "evil")]}])
    theirs = evil.request()
    ticket, plan = base64.b64decode(theirs["ticket"]), base64.b64decode(theirs["plan"])
    files = {name: Part(base64.b64decode(data)) for name, data in theirs["files"].items()}
    near, cut = site.near, mine.plan[:-20]
    return {
        "all of another's": (open_order(mine, ticket=ticket, plan=sha(plan), files=files), "not signed"),
        "a plan of another": (open_order(mine, plan=sha(plan)), "plan: not signed"),
        "a ticket of another": (open_order(mine, ticket=ticket), "ticket: not signed"),
        "files of another": (open_order(mine, files=files), "SHA-256"),
        "no files": (open_order(mine, files={}), "missing"),
        "a file that leads elsewhere": (open_order(mine, files={"../../x": Part(b"x")}), "plain name"),
        "another host's order": (
            open_order(near.order(host="h2", target="h2", action="control/web/h2")), "is for host 'h2'"
        ),
        "another cluster's order": (open_order(near.order(cluster="prod")), "is for cluster 'prod'"),
        "an order that has expired": (open_order(near.order(issued=1.0, expires=2.0)), "expired"),
        "an order of a version to come": (open_order(near.order(protocol=9)), "protocol 9"),
        "an order with a field to come": (open_order(near.order(sudo=True)), "unknown field 'sudo'"),
        "a ticket that was cut": (open_order(mine, ticket=mine.ticket[:-20]), "not a signed envelope"),
        "a ticket that is none": (open_order(mine, ticket=b"\xff" * 100), "not a signed envelope"),
        "a ticket without end": (open_order(mine, ticket=b"[" * 50_000), "not a signed envelope"),
        "a plan that was cut": (open_order(mine, plan=sha(cut)), "plan: not a signed envelope"),
        "a plan by no name": (open_order(mine, plan="../../etc/shadow"), "by no SHA-256"),
    }, [mine.plan, plan, cut]  # fmt: skip
