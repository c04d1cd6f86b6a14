"""Which hosts may fetch work: one-time codes, keys that are given up, and records that somebody else wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pulling import CLUSTER, enrolments
from support.sample_records import ENVELOPE, RUN, event
from underway import trust
from underway.core.model.base import replace
from underway.errors import NotTrusted, RecordInvalid, StoreError
from underway.executors.pull import Unknown
from underway.records.enrolments import CODE_LIFE, ENROLMENT_TYPE, Enrolments
from underway.records.repository import Repository
from underway.store.memory import MemoryStore
from underway_agent import dsse

ONE, TWO, THREE = "11" * 32, "22" * 32, "33" * 32
TOKEN = "ab" * 32


@pytest.fixture
def found() -> Enrolments:
    return enrolments(MemoryStore(), trust.Signer.generate_ed25519())


def test_a_code_is_good_once_and_for_the_same_key_again(found: Enrolments) -> None:
    secret = found.invite("web1", "ada", 100.0)
    said = found.of("web1")
    assert said is not None and (said.state, said.by, secret in repr(said)) == ("invited", "ada", False)
    made = found.enrol("web1", secret, ONE, TOKEN, 101.0)
    assert (made.state, made.number, made.fingerprint) == ("enrolled", 1, dsse.fingerprint(ONE))
    assert found.enrol("web1", secret, ONE, TOKEN, 102.0) == made, "an answer that was lost could not be had again"
    for key, token in ((TWO, TOKEN), (ONE, "cd" * 32)):
        with pytest.raises(NotTrusted, match="the code is not good"):
            found.enrol("web1", secret, key, token, 102.0)
    assert found.of("web1") == made


def test_bad_codes_are_all_told_alike(found: Enrolments) -> None:
    secret = found.invite("web1", "ada", 100.0)
    found.invite("web2", "ada", 100.0)
    told = set()
    for host, code, at in (
        ("web1", "guess", 101.0), ("web2", secret, 101.0), ("web3", secret, 101.0), ("web1", "", 101.0),
        ("web1", secret, 100.0 + CODE_LIFE + 1),
    ):  # fmt: skip
        with pytest.raises(NotTrusted) as error:
            found.enrol(host, code, ONE, TOKEN, at)
        told.add(str(error.value).removeprefix(f"{host}: "))
    assert told == {"the code is not good: it was used, has expired (after 15 minutes), or never was"}
    second = found.invite("web1", "ada", 100.0)
    with pytest.raises(NotTrusted):
        found.enrol("web1", secret, ONE, TOKEN, 101.0)
    found.enrol("web1", second, ONE, TOKEN, 101.0)


def test_a_key_that_was_given_up_is_never_taken_again(found: Enrolments) -> None:
    found.enrol("web1", found.invite("web1", "ada", 0.0), ONE, TOKEN, 0.0)
    secret = found.invite("web1", "ada", 0.0)
    assert found.token_of("web1") == TOKEN, "an open code took the host's key away"
    found.enrol("web1", secret, TWO, TOKEN, 0.0)
    revoked = found.revoke("web1", "stolen", "ada", 1.0)
    assert (revoked.state, revoked.former, found.token_of("web1")) == ("revoked", (ONE, TWO), "")
    with pytest.raises(Unknown, match=r"its agent was revoked \(stolen\)"):
        found.verify("web1", "x", b"")
    for key in (ONE, TWO):
        with pytest.raises(NotTrusted, match="make a new one"):
            found.enrol("web1", found.invite("web1", "ada", 0.0), key, TOKEN, 0.0)
    made = found.enrol("web1", found.invite("web1", "ada", 0.0), THREE, TOKEN, 0.0)
    assert (made.number, made.revoked) == (3, "")
    with pytest.raises(Unknown):
        found.revoke("web9", "stolen", "ada", 1.0)


def test_every_change_is_told_in_the_audit_by_the_same_transaction(found: Enrolments) -> None:
    repository = Repository(found.store, CLUSTER)
    own = f"underway-mail/{CLUSTER}/hosts/web1"

    def told(entries: int) -> str:
        last = repository.events()[-1]
        record, entry = found.store.get(own), found.store.get(repository.keys.audit_entry(entries))
        assert record is not None and entry is not None and last.seq == entries
        assert record.revision == entry.revision, "a death in between would leave one of them"
        return f"{last.actor} {last.host} {last.run or 'no run'}: {last.text}"

    secret = found.invite("web1", "ada", 1.0)
    assert told(1) == "operator:ada web1 no run: web1 may enrol an agent: a one-time code was made"
    repository.create_run(replace(RUN, cluster=CLUSTER), ENVELOPE, event("run-started"))
    found.enrol("web1", secret, ONE, TOKEN, 2.0)
    assert told(3) == f"host:web1 web1 r1: the agent of web1 was enrolled, key {dsse.fingerprint(ONE)}"
    found.enrol("web1", secret, ONE, TOKEN, 2.0)
    found.revoke("web1", "stolen", "bob", 3.0)
    assert told(4) == "operator:bob web1 r1: the agent of web1 was revoked: stolen"
    assert repository.verify() == (4, [])


def test_without_its_audit_entry_nothing_is_changed(found: Enrolments) -> None:
    found.invite("web1", "ada", 1.0)
    before = found.of("web1")
    keys = Repository(found.store, CLUSTER).keys
    found.store.commit({}, {keys.audit_head: None})
    for change in (
        lambda: found.invite("web1", "eve", 2.0), lambda: found.revoke("web1", "no trace", "eve", 2.0)
    ):  # fmt: skip
        with pytest.raises(RecordInvalid, match=r"audit/000000000001: is there already, though .*audit-head names"):
            change()
    assert found.of("web1") == before


def test_revoking_takes_an_open_code_away(found: Enrolments) -> None:
    secret = found.invite("web1", "ada", 0.0)
    found.revoke("web1", "sent to the wrong person", "ada", 1.0)
    with pytest.raises(NotTrusted):
        found.enrol("web1", secret, ONE, TOKEN, 0.0)


def test_whoever_writes_the_store_enrols_nobody(found: Enrolments) -> None:
    found.enrol("web1", found.invite("web1", "ada", 0.0), ONE, TOKEN, 0.0)
    key = f"underway-mail/{CLUSTER}/hosts/"
    own = found.store.get(f"{key}web1")
    assert own is not None
    thief = enrolments(MemoryStore(), trust.Signer.generate_ed25519())
    thief.enrol("web1", thief.invite("web1", "eve", 0.0), TWO, TOKEN, 0.0)
    forged = thief.store.get(f"{key}web1")
    assert forged is not None
    other_kind = found.sign("application/vnd.underway.ticket+json", b"{}")
    for host, data, said in (
        ("web1", forged.value, "was not written by us"), ("web2", own.value, "is that of web1"),
        ("web1", own.value[:-9], "garbled"), ("web1", other_kind, "expected 'application/vnd.underway.enrolment"),
        ("web1", found.sign(ENROLMENT_TYPE, b'{"host":1}'), "not of this version"),
    ):  # fmt: skip
        found.store.commit({}, {f"{key}{host}": data})
        for ask in (found.of, found.token_of, lambda name: found.verify(name, "x", b"")):
            with pytest.raises((NotTrusted, StoreError), match=said):
                ask(host)
    with pytest.raises((NotTrusted, StoreError)):
        found.all()


def test_all_hosts_are_listed_by_name(found: Enrolments) -> None:
    for host in ("web2", "web1"):
        found.invite(host, "ada", 0.0)
    assert [one.host for one in found.all()] == ["web1", "web2"]


def test_a_private_key_of_a_host_is_its_own(tmp_path: Path) -> None:
    key = dsse.create_key(tmp_path / "host.key")
    assert dsse.public_hex(dsse.load_key(tmp_path / "host.key")) == dsse.public_hex(key)
    with pytest.raises(FileExistsError):
        dsse.create_key(tmp_path / "host.key")
    (tmp_path / "host.key").chmod(0o640)
    with pytest.raises(dsse.NotSigned, match="chmod 600"):
        dsse.load_key(tmp_path / "host.key")
    (tmp_path / "no.key").write_text("nonsense")
    (tmp_path / "no.key").chmod(0o600)
    with pytest.raises(dsse.NotSigned, match="expected a private key"):
        dsse.load_key(tmp_path / "no.key")


def test_both_sides_sign_and_verify_alike() -> None:
    """The agent's small code and the library that the coordinator and the runner use understand each other."""
    signer = trust.Signer.generate_ed25519()
    public = signer.public_key.keyval["public"]
    envelope = trust.sign(signer, "text/x", b"\x00yes")
    assert dsse.verify(envelope, "text/x", [ONE, public]) == b"\x00yes"
    for wrong, kind, keys in ((envelope, "text/y", [public]), (envelope, "text/x", [ONE]), (envelope[:-5], "x", [])):
        with pytest.raises(dsse.NotSigned):
            dsse.verify(wrong, kind, keys)
    changed = envelope.replace(b"AHllcw==", b"AG5vIQ==")
    assert changed != envelope
    with pytest.raises(dsse.NotSigned):
        dsse.verify(changed, "text/x", [public])
