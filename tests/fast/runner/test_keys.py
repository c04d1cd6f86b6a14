"""How a host learns of other keys, and what it then refuses: thresholds, revoked keys, releases that it has left."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from fast.runner.kit import PLAN_TYPE, Kit, canonical
from underway_runner import chain, signatures, trust
from underway_runner.enrol import enrol
from underway_runner.errors import Refused
from underway_runner.start import _check_way, _left_after

STEPS = [{"id": "web.upgrade.one", "tasks": [{"name": "t", "ansible.builtin.command": "true"}]}]
Signer = Any


class Ring:
    """The keys of a cluster beside a host of it: alice's plan key and the ticket key are those of its enrolment."""

    def __init__(self, root: Path) -> None:
        self.kit = Kit(root, STEPS)
        self.alice: Signer = self.kit.signers["plan"]
        self.bob: Signer = CryptoSigner.generate_ed25519()
        self.carol: Signer = CryptoSigner.generate_ed25519()
        self.ticket: Signer = self.kit.signers["ticket"]
        enrol(self.directory, {"cluster": "demo", "host": "h1", "keys": self.kit.keys()})

    @property
    def directory(self) -> Path:
        return self.kit.directory

    def change(self, number: int, plan: list[Signer], threshold: int = 1, revoked: tuple[Signer, ...] = (),
               by: tuple[Signer, ...] | None = None, **more: Any) -> str:  # fmt: skip
        """A change of the keys, signed by ``by`` (alice)."""
        keys = [*((key, "plan") for key in plan), (self.ticket, "ticket")]
        said = {
            "cluster": "demo", "number": number, "threshold": threshold, "keys": [named(key, use) for key, use in keys],
            "revoked": [{**named(key, "plan"), "at": 1.8e9, "by": "ada", "reason": "stolen"} for key in revoked],
            "at": 1.8e9, "by": "ada", "change": "", **more,
        }  # fmt: skip
        return signed(chain.TRUST_TYPE, canonical(said), *((self.alice,) if by is None else by))

    def learn(self, *links: str) -> dict[str, Any]:
        return enrol(self.directory, {"cluster": "demo", "host": "h1", "links": list(links)})

    def refused(self, *links: str) -> str:
        before = (self.directory / "host.json").read_bytes()
        with pytest.raises(Refused) as caught:
            self.learn(*links)
        assert (self.directory / "host.json").read_bytes() == before, "a refusal changed something"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def plan(self, *signers: Signer) -> dict[str, Any]:
        """A request whose plan these signed."""
        return {**self.kit.request(), "plan": signed(PLAN_TYPE, canonical(self.kit.plan), *signers)}

    def verify(self, request: dict[str, Any]) -> trust.Work:
        return trust.verify(request, trust.load_host(self.directory))

    def turned_away(self, request: dict[str, Any]) -> str:
        with pytest.raises(Refused) as caught:
            self.verify(request)
        return str(caught.value)


def named(signer: Signer, use: str) -> dict[str, Any]:
    key = signer.public_key
    return {"keyid": key.keyid, "use": use, "public": key.keyval["public"], "name": ""}


def signed(kind: str, payload: bytes, *signers: Signer) -> str:
    envelope = Envelope(payload, kind, {})
    for signer in signers:
        envelope.sign(signer)
    return base64.b64encode(json.dumps(envelope.to_dict()).encode()).decode()


def short(signer: Signer) -> str:
    return signatures.called({"keyval": dict(signer.public_key.keyval)})


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path)


def test_a_new_key_counts_once_it_was_learned_and_a_revoked_one_no_more(ring: Ring) -> None:
    assert "not signed by 1 of the 1 keys" in ring.turned_away(ring.plan(ring.bob))
    assert ring.learn(ring.change(1, [ring.alice, ring.bob]))["trust"] == 1
    ring.verify(ring.plan(ring.bob))
    ring.verify(ring.plan(ring.alice))
    ring.learn(ring.change(2, [ring.bob], revoked=(ring.alice,), by=(ring.bob,)))
    ring.verify(ring.plan(ring.bob))
    ring.verify(ring.plan(ring.alice, ring.bob))
    words = ring.turned_away(ring.plan(ring.alice))
    assert f"{short(ring.alice)} was revoked on 2027-01-15 (stolen)" in words
    assert "sign it anew with another key" in words


def test_a_plan_with_too_few_signatures_is_refused_with_whose_are_there_and_missing(ring: Ring) -> None:
    ring.learn(ring.change(1, [ring.alice, ring.bob, ring.carol], 2, by=(ring.alice, ring.carol)))
    words = ring.turned_away(ring.plan(ring.alice))
    assert words == (
        f"plan: signed by 1 key ({short(ring.alice)}), and this host asks for 2: have one of {short(ring.bob)},"
        f" {short(ring.carol)} sign it ('underway key sign FILE')"
    )
    ring.verify(ring.plan(ring.carol, ring.bob))
    assert ring.verify(ring.kit.request() | {"plan": ring.plan(ring.alice, ring.bob)["plan"]}).where["token"] == 1


def test_a_copied_signature_never_counts_twice(ring: Ring) -> None:
    ring.learn(ring.change(1, [ring.alice, ring.bob], 2, by=(ring.alice, ring.bob)))
    request = ring.plan(ring.alice)
    for keyid in (ring.alice.public_key.keyid, ring.bob.public_key.keyid, "another"):
        document = json.loads(base64.b64decode(request["plan"]))
        document["signatures"].append({**document["signatures"][0], "keyid": keyid})
        forged = base64.b64encode(json.dumps(document).encode()).decode()
        assert ring.turned_away({**request, "plan": forged})


def test_one_key_under_two_ids_never_counts_twice(ring: Ring) -> None:
    """Neither when the host was enrolled with it (in other letters), nor where a change names it."""
    keys = ring.kit.keys()
    alias = {**keys[0], "keyid": "alias", "keyval": {"public": keys[0]["keyval"]["public"].upper()}}
    host = trust.HostFile("demo", "h1", (*keys, alias), {"threshold": 2})
    document = json.loads(base64.b64decode(ring.plan(ring.alice)["plan"]))
    document["signatures"].append({**document["signatures"][0], "keyid": "alias"})
    with pytest.raises(Refused, match="signed by 1 key "):
        trust.verify({**ring.kit.request(), "plan": base64.b64encode(json.dumps(document).encode()).decode()}, host)
    with pytest.raises(Refused, match="is there twice"):
        enrol(ring.kit.root / "other", {"cluster": "demo", "host": "h1", "keys": [*keys, alias]})
    twice = [named(ring.alice, "plan"), {**named(ring.alice, "plan"), "keyid": "x"}, named(ring.ticket, "ticket")]
    assert "is there twice" in ring.refused(ring.change(1, [], keys=twice))


def test_the_host_s_own_policy_asks_for_more_and_never_for_less(ring: Ring) -> None:
    ring.learn(ring.change(1, [ring.alice, ring.bob, ring.carol], 2, by=(ring.alice, ring.bob)))
    path = ring.directory / "host.json"
    found = json.loads(path.read_bytes())
    for own, enough in ((1, 2), (3, 3)):
        path.write_text(json.dumps({**found, "policy": {"threshold": own}}))
        signers = [ring.alice, ring.bob, ring.carol]
        assert f"asks for {enough}" in ring.turned_away(ring.plan(*signers[: enough - 1]))
        ring.verify(ring.plan(*signers[:enough]))
    assert "this host asks for 3" in ring.refused(ring.change(2, [ring.alice], 1, by=(ring.alice, ring.bob)))


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (lambda ring: ring.change(1, [ring.bob], by=(ring.bob,)), "not signed by 1 of the 1 keys"),
        (lambda ring: ring.change(1, [ring.bob], by=(ring.ticket,)), "not signed by 1 of the 1 keys"),
        (lambda ring: ring.change(1, [ring.alice], by=()), "not signed by 1 of the 1 keys"),
        (lambda ring: ring.change(1, [ring.bob]), "not signed by 1 of the 1 keys"),  # nobody showed bob's private half
        (lambda ring: ring.change(1, [ring.alice, ring.bob], 2), "signed by 1 key"),  # nobody can sign a plan then
        (lambda ring: ring.change(1, [ring.alice], 2), "threshold: expected 1 to 1, found 2"),
        (lambda ring: ring.change(1, [ring.alice], 0), "threshold: expected 1 to 1, found 0"),
        (lambda ring: ring.change(1, [ring.alice], True), "threshold: expected 1 to 1, found True"),
        (lambda ring: ring.change(2, [ring.alice]), "was not given what lies between"),
        (lambda ring: ring.change(1, [ring.alice], cluster="other"), "of cluster 'other'"),
        (lambda ring: ring.change(1, [ring.alice, ring.bob], revoked=(ring.bob,)), "is there twice"),
        (lambda ring: ring.change(1, [ring.alice], keys=[named(ring.alice, "plan")]), "the use 'ticket'"),
        (lambda ring: ring.change(1, [ring.alice], keys=[]), "threshold: expected 1 to 0"),
        (lambda ring: ring.change(1, [ring.alice], keys=[{}]), "garbled"),
        (lambda ring: ring.change(1, [ring.alice], keys=None), "garbled"),
        (lambda ring: signed(chain.TRUST_TYPE, canonical({"number": "1"}), ring.alice), "number: expected a number"),
        (lambda ring: signed("text/x", canonical({"number": 1}), ring.alice), "expected payload type"),
        (lambda ring: signed(chain.TRUST_TYPE, b"[]", ring.alice), "expected an object"),
        (lambda _: "%%%", "not base64"),
        (lambda _: "e30=", "not a signed envelope"),
        (lambda _: 7, "not base64"),
    ],
)  # fmt: skip
def test_a_change_that_does_not_count_changes_nothing(ring: Ring, attack: Callable[[Ring], Any], words: str) -> None:
    assert words in ring.refused(attack(ring))


def test_what_was_revoked_stays_so_and_an_old_change_is_no_way_back(ring: Ring) -> None:
    first = ring.change(1, [ring.alice, ring.bob])
    second = ring.change(2, [ring.bob], revoked=(ring.alice,), by=(ring.bob,))
    assert ring.learn(first, second)["trust"] == 2
    assert ring.learn(first)["trust"] == 2, "an older one is passed over"
    assert ring.learn(first, second) == ring.learn(second)
    again = ring.change(3, [ring.alice, ring.bob], by=(ring.bob,))
    assert "a key that was revoked is not called so any more" in ring.refused(again)
    assert "is there twice" in ring.refused(
        ring.change(3, [ring.alice, ring.bob], revoked=(ring.alice,), by=(ring.bob,))
    )
    assert "was revoked on" in ring.refused(ring.change(3, [ring.bob], revoked=(ring.alice,)))


def test_the_changes_before_a_bad_one_are_kept(ring: Ring) -> None:
    good = ring.change(1, [ring.alice, ring.bob])
    with pytest.raises(Refused):
        ring.learn(good, ring.change(2, [ring.carol], by=(ring.carol,)))
    assert chain.number_of(json.loads((ring.directory / "host.json").read_bytes())) == 1


def test_a_start_brings_what_the_host_missed(ring: Ring) -> None:
    """The keys are known before the plan is looked at, so a host that was away takes the work of new keys at once."""
    links = [ring.change(1, [ring.alice, ring.bob])]
    answer = ring.kit.call("start", {**ring.plan(ring.bob), "links": links})
    assert answer[-1] == {"kind": "accepted"}, answer
    said = ring.kit.call("ping")[-1]
    assert said["trust"] == 1
    ring.kit.follow()


def test_a_host_that_was_never_enrolled_begins_with_the_last_change(ring: Ring, tmp_path: Path) -> None:
    links = [
        ring.change(1, [ring.alice, ring.bob]),
        ring.change(2, [ring.bob, ring.carol], 2, revoked=(ring.alice,), by=(ring.bob, ring.carol)),
    ]
    ring.learn(*links[:1])
    request = {"cluster": "demo", "host": "h1", "keys": ring.kit.keys(), "links": links}
    other = tmp_path / "other"
    assert enrol(other, request)["trust"] == 2
    host = trust.load_host(other)
    assert host.threshold == 2
    with pytest.raises(Refused, match="was revoked on"):
        trust.verify(ring.plan(ring.alice), host)
    assert trust.verify(ring.plan(ring.bob, ring.carol), host)
    bad = tmp_path / "bad"
    for changed in ({"cluster": "x"}, {"links": [ring.change(1, [ring.bob])]}):
        with pytest.raises(Refused):
            enrol(bad, {**request, **changed})
        assert not bad.exists()


def test_enrolling_again_brings_changes_and_refuses_other_keys(ring: Ring) -> None:
    new = [*ring.kit.keys(), {**ring.kit.keys()[0], **{"keyid": ring.bob.public_key.keyid},
                              "keyval": dict(ring.bob.public_key.keyval)}]  # fmt: skip
    request = {"cluster": "demo", "host": "h1", "keys": new}
    with pytest.raises(Refused, match="enrolled already, with other keys"):
        enrol(ring.directory, request)
    link = ring.change(1, [ring.alice, ring.bob])
    said = enrol(ring.directory, {**request, "links": [link]})
    assert said == {"kind": "enrolled", "trust": 1, "tickets": [ring.ticket.public_key.keyval["public"]]}
    with pytest.raises(Refused, match="it knows change 1 of them, this machine 0"):
        enrol(ring.directory, {"cluster": "demo", "host": "h1", "keys": ring.kit.keys()})
    shutil.rmtree(ring.directory)
    with pytest.raises(Refused, match="not enrolled"):
        ring.learn(link)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_order_of_changes_and_attacks_a_threshold_of_keys_that_count_can_always_sign(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No operator is ever locked out by a change that a host took, and no revoked key counts, ever."""
    ring = Ring(tmp_path_factory.mktemp("ring"))
    people = [ring.alice, ring.bob, ring.carol, CryptoSigner.generate_ed25519()]
    count, threshold, number = [ring.alice], 1, 0
    gone: list[Signer] = []
    for _ in range(data.draw(st.integers(1, 5))):
        plan = data.draw(st.lists(st.sampled_from(people), unique_by=id, min_size=1))
        wanted = data.draw(st.integers(1, 3))
        revoked = [one for one in people if one in gone or (one in count and one not in plan)]
        by = data.draw(st.lists(st.sampled_from(people), unique_by=id))
        link = ring.change(number + 1, plan, wanted, tuple(revoked), tuple(by))
        good = (
            wanted <= len(plan)
            and sum(one in count for one in by) >= threshold
            and sum(one in plan for one in by) >= wanted
            and not any(one in plan for one in gone)
        )
        if not good:
            ring.refused(link)
            continue
        ring.learn(link)
        count, threshold, gone, number = plan, wanted, revoked, number + 1
        ring.verify(ring.plan(*count[:threshold]))
        ring.turned_away(ring.plan(*count[: threshold - 1], *gone))


def test_a_release_that_was_left_is_reached_again_by_a_signed_rollback_only(ring: Ring) -> None:
    """TRUST.md §4, 70: an old plan keeps its good signatures; the host still refuses it."""

    def work(source: str, target: str, mode: str = "upgrade") -> trust.Work:
        ring.kit.plan |= {"source": source, "target": target, "mode": mode}
        return ring.verify(ring.kit.request(mode=mode))

    tokens: dict[str, Any] = {}

    def does(step: trust.Work) -> None:
        _check_way(tokens, step)
        tokens["left"] = sorted(_left_after(tokens, step))

    does(work("1", "2"))
    does(work("2", "3"))
    does(work("3", "3", "roll"))
    for source, target in (("1", "2"), ("0", "1"), ("3", "1")):
        with pytest.raises(Refused, match="which this host has left for a newer release: only a signed rollback"):
            does(work(source, target))
    does(work("2", "3"))
    does(work("2", "3", "rollback"))
    with pytest.raises(Refused, match="upgrades to 1"):
        does(work("2", "1"))
    does(work("1", "2"))
    does(work("2", "4"))


def test_the_runner_itself_refuses_to_go_back(ring: Ring) -> None:
    ring.kit.plan |= {"source": "1", "target": "2"}
    assert ring.kit.start(1) == {"kind": "accepted"}
    ring.kit.follow(1)
    ring.kit.run_id = "r2"
    ring.kit.plan |= {"source": "0", "target": "1"}
    assert "upgrades to 1, which this host has left" in ring.kit.start(2)["text"]
