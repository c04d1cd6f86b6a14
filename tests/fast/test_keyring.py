"""Whose signatures count: changes of the keys, thresholds, and what is refused. The runner agrees on each."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underway import trust, trustchain
from underway.app import keyring as files
from underway.core import keyring
from underway.core.keyring import called, fingerprint
from underway.core.model.base import canonical, replace
from underway.core.model.keyring import TRUST_TYPE, Key, RevokedKey, Trust
from underway.core.model.ticket import PLAN_TYPE, TICKET_TYPE
from underway.errors import InputError, NotTrusted, Refused
from underway.trustchain import Chain
from underway_agent import dsse
from underway_runner import chain as runner_chain
from underway_runner import signatures
from underway_runner.enrol import enrol
from underway_runner.errors import Refused as RunnerRefused

PEOPLE = {name: trust.Signer.generate_ed25519() for name in ("ada", "bob", "cyd", "dot", "t1", "t2")}
PLAN = b'{"cluster":"demo"}'


def key(name: str) -> Key:
    public = PEOPLE[name].public_key
    use: Any = "ticket" if name.startswith("t") else "plan"
    return Key(keyid=public.keyid, use=use, public=public.keyval["public"], name=name)


FIRST = keyring.first("demo", [keyring.document_of(key("ada")), keyring.document_of(key("t1"))])


def change(before: Trust, *steps: tuple[str, Any]) -> Trust:
    """One change by the functions of the core."""
    for what, value in steps:
        if what == "trust":
            before = keyring.with_key(before, key(value), "ada", 1.8e9)
        elif what == "revoke":
            before = keyring.without(before, key(value), "lost", "ada", 1.8e9)
        else:
            before = keyring.with_threshold(before, value, "ada", 1.8e9)
    return before


def signed(made: Trust, *names: str) -> bytes:
    return trustchain.sign_change(made, [PEOPLE[name] for name in names])


def grown(*steps: tuple[str, Any], by: Sequence[str] = ("ada", "bob", "cyd", "dot")) -> Chain:
    """A chain of changes, each signed by all who may at that time."""
    found = trustchain.begin(FIRST)
    for step in steps:
        made = change(found.standing, step)
        able = {one.public for one in (*found.standing.of("plan"), *made.of("plan"))}
        found = found.extended([signed(made, *[name for name in by if key(name).public in able])])
    return found


def plan(*names: str) -> bytes:
    envelope = trust.sign(PEOPLE[names[0]], PLAN_TYPE, PLAN)
    for name in names[1:]:
        envelope = trust.cosign(PEOPLE[name], envelope)
    return envelope


def refused(found: Chain, envelope: bytes) -> str:
    with pytest.raises(NotTrusted) as caught:
        found.open_plan(envelope)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def short(name: str) -> str:
    return called(key(name))


def test_a_plan_counts_once_as_many_keys_signed_it_as_must() -> None:
    """TRUST.md §4, 67: unsigned, by another key, one of two."""
    found = grown(("trust", "bob"), ("trust", "cyd"), ("threshold", 2))
    assert found.open_plan(plan("ada", "cyd")) == PLAN
    assert found.open_plan(plan("bob", "ada", "dot")) == PLAN, "a further signature by a stranger does no harm"
    assert refused(found, plan("ada")) == (
        f"the plan: signed by 1 key that counts ({short('ada')}), and 2 of 3 must sign: have 1 of {short('bob')},"
        f" {short('cyd')} sign it ('underway key sign FILE' where that key is)"
    )
    assert "which is no key that is trusted here" in refused(found, plan("dot"))
    assert "which is no key that is trusted here" in refused(found, plan("t1"))
    document = json.loads(plan("ada"))
    assert "no signature" in refused(found, json.dumps({**document, "signatures": []}).encode())


def test_a_copied_signature_and_one_key_under_two_ids_count_once() -> None:
    """TRUST.md §4, 69."""
    found = grown(("trust", "bob"), ("threshold", 2))
    document = json.loads(plan("ada"))
    for keyid in (key("ada").keyid, key("bob").keyid, "alias"):
        copy = {**document["signatures"][0], "keyid": keyid}
        assert refused(found, json.dumps({**document, "signatures": [*document["signatures"], copy]}).encode())
    twice = replace(found.standing, number=3, keys=(*found.standing.keys, replace(key("ada"), keyid="alias")))
    with pytest.raises(NotTrusted, match="a key stands there twice"):
        found.extended([signed(twice, "ada", "bob")])


def test_another_payload_type_is_refused_whoever_signed_it() -> None:
    """TRUST.md §4, 68: neither a ticket nor a change of the keys passes for a plan, nor the other way."""
    found = grown(("trust", "bob"))
    for kind in (TICKET_TYPE, TRUST_TYPE, "text/x"):
        with pytest.raises(NotTrusted, match=r"expected 'application/vnd\.underway\.plan\+json'"):
            found.open_plan(trust.sign(PEOPLE["ada"], kind, PLAN))
    made = change(found.standing, ("trust", "cyd"))
    with pytest.raises(NotTrusted, match="expected a change of the keys"):
        found.extended([trust.sign(PEOPLE["ada"], PLAN_TYPE, canonical(made))])


def test_a_revoked_key_counts_no_more_and_says_since_when() -> None:
    found = grown(("trust", "bob"), ("revoke", "ada"))
    assert f"{short('ada')} was revoked on 2027-01-15 08:00:00 UTC (lost)" in refused(found, plan("ada"))
    assert found.open_plan(plan("ada", "bob")) == PLAN
    assert found.read_plan(plan("ada")) == PLAN, "old runs can still be looked at"
    with pytest.raises(NotTrusted):
        found.read_plan(plan("dot"))
    with pytest.raises(Refused, match=r"was revoked on .* \(lost\); make a new key"):
        change(found.standing, ("trust", "ada"))
    with pytest.raises(InputError, match="was revoked on"):
        keyring.find(found.standing, "ada")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([("revoke", "ada")], "without it there are 0 of the 1 plan keys that must sign a plan: trust another"),
        ([("trust", "bob"), ("threshold", 2), ("revoke", "bob")], "or lower the threshold first ('underway key"),
        ([("revoke", "t1")], "is the only ticket key: make and trust another one first"),
        ([("threshold", 2)], "expected 1 to 1, as there is 1 plan key"),
        ([("threshold", 0)], "expected 1 to 1"),
        ([("threshold", 1)], "must sign a plan already"),
        ([("trust", "ada")], "is trusted already, as a plan key"),
    ],
)  # fmt: skip
def test_what_would_lock_operators_out_is_refused(steps: list[tuple[str, Any]], words: str) -> None:
    *before, last = steps
    standing = grown(*before).standing
    with pytest.raises(Refused) as caught:
        change(standing, last)
    assert words in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_a_change_waits_for_signatures_of_before_and_after() -> None:
    found = grown(("trust", "bob"), ("trust", "cyd"))
    made = change(found.standing, ("threshold", 2))
    assert "have 1 of" in trustchain.lacks(signed(made, "ada"), found.standing)
    assert trustchain.lacks(signed(made, "ada", "cyd"), found.standing) == ""
    with pytest.raises(NotTrusted, match="change 3 of the keys: signed by 1 key that counts"):
        found.extended([signed(made, "ada")])
    alone = replace(made, keys=(key("dot"), key("t1")), threshold=1)
    with pytest.raises(NotTrusted):
        found.extended([signed(alone, "ada")])  # nobody showed that dot's key can sign at all
    with pytest.raises(NotTrusted):
        trustchain.lacks(signed(replace(made, number=9), "ada", "bob"), found.standing)


def test_keys_are_named_by_fingerprint_its_beginning_or_a_name() -> None:
    standing = grown(("trust", "bob"), ("trust", "cyd")).standing
    whole = fingerprint(key("bob").public)
    assert whole == dsse.fingerprint(key("bob").public), "the agent and we show keys alike"
    for text in (whole, whole[:16], whole.removeprefix("SHA256:"), whole[7:16], "bob"):
        assert keyring.find(standing, text).public == key("bob").public
    for text in ("", "SHA256:", "b0b", "dot", whole[:10]):
        with pytest.raises(InputError, match=r"there is no trusted key"):
            keyring.find(standing, text)
    with pytest.raises(Refused, match="another plan key of the name 'bob'"):
        keyring.with_key(standing, replace(key("dot"), name="bob"), "ada", 0.0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_coordinator_and_runner_take_the_same_changes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a change says and whoever signed it: both take it, or both refuse it; then both take the same plans."""
    people = ["ada", "bob", "cyd", "dot"]
    directory = tmp_path_factory.mktemp("host")
    documents = [keyring.document_of(one) for one in FIRST.keys]
    enrol(directory, {"cluster": "demo", "host": "h1", "keys": documents})
    found = trustchain.begin(FIRST)
    for _ in range(data.draw(st.integers(1, 4))):
        names = data.draw(st.lists(st.sampled_from([*people, "t1", "t2"]), unique=True))
        gone = data.draw(st.lists(st.sampled_from(people), unique=True, max_size=2))
        made = Trust(
            cluster=data.draw(st.sampled_from(["demo", "demo", "demo", "other"])),
            number=found.standing.number + data.draw(st.sampled_from([1, 1, 1, 2])),
            threshold=data.draw(st.integers(0, 3)),
            keys=tuple(key(name) for name in names),
            revoked=tuple(_gone(name) for name in gone),
            at=1.8e9, by="ada", change="",
        )  # fmt: skip
        by = data.draw(st.lists(st.sampled_from(people), unique=True, min_size=1))
        link = signed(made, *by)
        try:
            found = found.extended([link])
            ours = True
        except NotTrusted:
            ours = False
        try:
            runner_chain.learn(directory, [base64.b64encode(link).decode()])
            theirs = True
        except RunnerRefused:
            theirs = False
        assert ours == theirs, (made, by)
    said = json.loads((directory / "host.json").read_bytes())
    for names in (["ada"], ["bob"], ["ada", "bob"], ["bob", "cyd", "dot"]):
        try:
            counts = found.open_plan(plan(*names)) == PLAN
        except NotTrusted:
            counts = False
        keys = [one for one in said["keys"] if one["use"] == "plan"]
        try:
            takes = bool(
                signatures.opened(plan(*names), "plan", PLAN_TYPE, keys, said.get("trust", {}).get("threshold", 1))
            )
        except RunnerRefused:
            takes = False
        assert counts == takes, names


def _gone(name: str) -> RevokedKey:
    one = key(name)
    return RevokedKey(keyid=one.keyid, use=one.use, public=one.public, name=name, at=1.0, by="ada", reason="")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    trust.create_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_changes_survive_in_a_file_that_counts_only_where_it_was_signed(place: Path) -> None:
    begun = files.load(place, "demo")
    assert [one.use for one in begun.standing.keys] == ["plan", "ticket"] and begun.standing.threshold == 1
    own = files.counting(place, begun, "plan")
    made = keyring.with_key(begun.standing, key("bob"), "ada", 1.0)
    found = begun.extended([trustchain.sign_change(made, [own.signer()])])
    files.save(place, found)
    assert files.load(place, "demo") == found
    assert (place / files.FILE).stat().st_mode & 0o777 == 0o600
    said = json.loads((place / files.FILE).read_bytes())
    forged = signed(keyring.with_key(found.standing, key("cyd"), "eve", 1.0), "cyd")
    bad: Any
    for bad in (
        {**said, "changes": [*said["changes"], base64.b64encode(forged).decode()]},
        {**said, "changes": "x"}, {"first": said["first"]}, {**said, "first": [{}]}, [], 7,
    ):  # fmt: skip
        (place / files.FILE).write_text(json.dumps(bad))
        with pytest.raises(NotTrusted):
            files.load(place, "demo")


def test_the_own_key_that_was_trusted_last_signs_and_a_revoked_one_says_so(place: Path) -> None:
    begun = files.load(place, "demo")
    first = files.counting(place, begun, "ticket")
    trust.create_key(place, "ticket", "ticket-new", "new")
    assert files.counting(place, begun, "ticket") == first, "one that nobody trusts signs nothing"
    new = files.own_keys(place, "ticket")[1].key
    signer = files.counting(place, begun, "plan").signer()
    more = begun.extended([trustchain.sign_change(keyring.with_key(begun.standing, new, "ada", 1.0), [signer])])
    assert files.counting(place, more, "ticket").key.public == new.public
    looks = [begun, more]
    ring = files.LiveRing(place, lambda: looks.pop(0))
    assert trust.verify(ring.sign("text/x", b"0"), "text/x", [ring.tickets()[0]]) == b"0"
    assert trust.verify(ring.sign("text/x", b"1"), "text/x", [ring.tickets()[-1]]) == b"1", "it signed by an older look"
    gone = keyring.without(more.standing, first.key, "stolen", "ada", 1.8e9)
    (place / "ticket-new.key").unlink()
    less = more.extended([trustchain.sign_change(gone, [signer])])
    with pytest.raises(NotTrusted, match=r"the ticket key of this machine, SHA256:\S+, was revoked on .*: stolen"):
        files.counting(place, less, "ticket")
    for path in place.glob("ticket*"):
        path.unlink()
    with pytest.raises(InputError, match="there is no ticket key"):
        files.counting(place, less, "ticket")
