"""How changes of the keys reach hosts that fetch their work, and what of the store survives a replaced ticket key."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.pulling import CLUSTER, Site, order
from underway import trust
from underway.api.desk import Desk
from underway.errors import NotTrusted
from underway.executors import changes
from underway.executors.mail import get_blob
from underway.executors.pull import PullExecutor
from underway.records.enrolments import Enrolments
from underway.records.repository import Repository
from underway.store.memory import MemoryStore
from underway_agent import dsse, letters

LINKS = (b"one", b"two")


@pytest.fixture
def site() -> Site:
    made = Site(MemoryStore())
    made.enrol("web1")
    return made


def executor(site: Site, links: tuple[bytes, ...]) -> PullExecutor:
    def sign(kind: str, data: bytes) -> bytes:
        return trust.sign(site.signer, kind, data)

    return PullExecutor(site.mail, CLUSTER, site.enrolments.verify, sign, site.clock, lambda: links)


def blob(site: Site, keys: str) -> list[str]:
    data = get_blob(site.mail, changes.digest_in(keys))
    assert data is not None
    found: list[str] = json.loads(data)
    return found


def test_a_letter_names_the_changes_beside_whatever_else_it_says(site: Site) -> None:
    changes.leave(site.mail, "web1", LINKS)
    keys = site.orders("web1").keys
    assert keys.startswith("2:") and blob(site, keys) == ["b25l", "dHdv"]
    made = executor(site, ())
    made.submit(order())
    made.reports(0.0)
    left = site.orders("web1")
    assert (left.keys, len(left.orders)) == (keys, 1), "a coordinator that knows of none took them out of the letter"
    changes.leave(site.mail, "web1", LINKS[:1])
    assert site.orders("web1").keys == keys, "an older word took the newer one's place"
    changes.leave(site.mail, "web1", (*LINKS, b"three"))
    assert (site.orders("web1").keys[:2], len(site.orders("web1").orders)) == ("3:", 1)


def test_a_coordinator_leaves_the_changes_that_it_knows_with_its_orders(site: Site) -> None:
    made = executor(site, LINKS)
    made.submit(order())
    made.reports(0.0)
    keys = site.orders("web1").keys
    assert keys.startswith("2:") and len(blob(site, keys)) == 2
    again = executor(site, LINKS)  # a new run, which clears away what nobody names
    again.submit(order(token=2, plan=b"another plan"))
    again.reports(0.0)
    assert len(blob(site, site.orders("web1").keys)) == 2


def test_a_host_is_handed_the_changes_that_its_letter_names_and_no_others(site: Site) -> None:
    changes.leave(site.mail, "web1", LINKS)
    digest = changes.digest_in(site.orders("web1").keys)

    async def asked() -> list[bytes | None]:
        desk = Desk(site.mail)
        desk.start()
        try:
            while not desk.ready:
                await asyncio.sleep(0.01)
            return [await desk.blob("web1", digest), await desk.blob("web2", digest), await desk.blob("web1", "")]
        finally:
            await desk.stop()

    found = asyncio.run(asked())
    assert found[0] is not None and found[1:] == [None, None]


@pytest.mark.parametrize("keys", ["", "x", "2", ":", "9" * 70, "-1:ab", "٣:ab"])
def test_words_on_keys_that_mean_nothing_never_win(keys: str) -> None:
    assert letters.newer_keys(keys, "1:ab") == "1:ab" == letters.newer_keys("1:ab", keys)


def test_a_letter_without_changes_is_what_it_always_was() -> None:
    assert b"keys" not in letters.write_orders(letters.Orders())
    assert letters.read_orders(letters.write_orders(letters.Orders(keys="1:ab"))).keys == "1:ab"
    assert changes.named_in(b'rubbish with "keys"') == ""


def test_records_of_hosts_outlive_the_ticket_key_that_signed_them(site: Site) -> None:
    """They are signed anew before the key goes; whatever is done in between, the host stays enrolled."""
    site.enrol("web2")
    new = trust.Signer.generate_ed25519()
    old = site.enrolments
    before = [(one.host, one.public, one.number) for one in old.all()]
    both = lambda: (site.signer.public_key, new.public_key)  # noqa: E731
    found = Enrolments(site.store, CLUSTER, lambda kind, data: trust.sign(new, kind, data), both)
    assert found.sign_anew("ada", 1.0) == 2
    assert found.sign_anew("ada", 1.0) == 2, "again it changes nothing"
    only = Enrolments(site.store, CLUSTER, found.sign, lambda: (new.public_key,))
    assert [(one.host, one.public, one.number) for one in only.all()] == before
    with pytest.raises(NotTrusted, match="was not written by us"):
        old.all()
    told = [entry.text for entry in Repository(site.store, CLUSTER).events() if "another ticket key" in entry.text]
    assert len(told) == 2
    hello = dsse.sign(site.keys["web1"], letters.HELLO_TYPE, b"{}")
    assert only.verify("web1", letters.HELLO_TYPE, hello) == b"{}"
