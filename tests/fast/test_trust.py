"""Signatures: what passes, and every way in which something else must not."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from underway.core.model.ticket import PLAN_TYPE, TICKET_TYPE
from underway.errors import InputError, NotTrusted
from underway.trust import (
    PublicKey,
    Signer,
    cosign,
    create_keys,
    load_signer,
    public_keys,
    sign,
    trusted_keys,
    verify,
)

PAYLOAD = b'{"cluster":"prod","text":"\xc3\xa4"}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("state") / "keys"
    create_keys(directory)
    return directory


@pytest.fixture(scope="module")
def signer(keys: Path) -> Signer:
    return load_signer(keys / "plan.key")


@pytest.fixture(scope="module")
def trusted(keys: Path) -> list[PublicKey]:
    return trusted_keys(public_keys(keys), "plan")


def refused(envelope: bytes, trusted: list[PublicKey], threshold: int = 1, kind: str = PLAN_TYPE) -> str:
    with pytest.raises(NotTrusted) as caught:
        verify(envelope, kind, trusted, threshold)
    return str(caught.value)


def changed(envelope: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(envelope)
    change(document)
    return json.dumps(document).encode()


def test_signed_bytes_are_the_exact_bytes_stored(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = sign(signer, PLAN_TYPE, PAYLOAD)
    assert verify(envelope, PLAN_TYPE, trusted) == PAYLOAD
    assert sign(signer, PLAN_TYPE, PAYLOAD) == envelope, "Ed25519 is deterministic: the same ticket has the same bytes"
    document = json.loads(envelope)
    assert base64.b64decode(document["payload"]) == PAYLOAD
    # the library alone, as the runner uses it, agrees
    assert Envelope.from_dict(document).verify(list(trusted), 1)


def test_keys_are_private_and_never_overwritten(keys: Path) -> None:
    assert {path.name for path in keys.iterdir()} == {"plan.key", "plan.pub", "ticket.key", "ticket.pub"}
    for name in ("plan.key", "ticket.key"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    before = (keys / "plan.key").read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        create_keys(keys)
    assert (keys / "plan.key").read_bytes() == before


def test_a_half_made_key_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ticket.pub").write_text("mine")
    with pytest.raises(InputError, match=r"ticket\.pub: exists already"):
        create_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ticket.pub"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    create_keys(tmp_path / "keys")
    path = tmp_path / "keys" / "plan.key"
    path.chmod(mode)
    with pytest.raises(NotTrusted, match=rf"mode {mode:04o}; chmod 600"):
        load_signer(path)


def test_a_key_behind_a_link_is_refused(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "plan.key").symlink_to(keys / "plan.key")
    with pytest.raises(NotTrusted, match="cannot be read as a private key"):
        load_signer(tmp_path / "plan.key")


def test_a_directory_or_a_missing_file_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="plain file"):
        load_signer(tmp_path)
    with pytest.raises(InputError, match="no such key"):
        load_signer(tmp_path / "plan.key")


def test_only_ed25519_keys_sign(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, sentence in ((other, "expected an Ed25519 key"), (b"nothing", "unencrypted PEM")):
        path = tmp_path / "plan.key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(NotTrusted, match=sentence):
            load_signer(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    """A flip may hit white space of base64 or the like; what passes must be the payload, byte for byte."""
    signer = Signer.generate_ed25519()
    envelope = bytearray(sign(signer, PLAN_TYPE, PAYLOAD))
    position = data.draw(st.integers(0, len(envelope) - 1))
    envelope[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = verify(bytes(envelope), PLAN_TYPE, [signer.public_key])
    except NotTrusted:
        return
    assert found == PAYLOAD


def test_a_flipped_bit_of_the_payload_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    for position in range(len(PAYLOAD)):
        content = bytearray(PAYLOAD)
        content[position] ^= 1
        text = base64.b64encode(content).decode()
        envelope = changed(sign(signer, PLAN_TYPE, PAYLOAD), lambda found, text=text: found.update(payload=text))  # type: ignore[misc]
        assert "does not match" in refused(envelope, trusted)


def test_every_truncation_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = sign(signer, PLAN_TYPE, PAYLOAD)
    for length in range(len(envelope)):
        assert "garbled" in refused(envelope[:length], trusted)


def test_another_type_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = sign(signer, TICKET_TYPE, PAYLOAD)
    assert "expected 'application/vnd.underway.plan+json'" in refused(envelope, trusted)


def test_a_swapped_type_breaks_the_signature(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = changed(sign(signer, TICKET_TYPE, PAYLOAD), lambda found: found.update(payloadType=PLAN_TYPE))
    assert "does not match" in refused(envelope, trusted)


def test_a_swapped_payload_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    other = json.loads(sign(signer, PLAN_TYPE, b"{}"))
    envelope = changed(sign(signer, PLAN_TYPE, PAYLOAD), lambda found: found.update(payload=other["payload"]))
    assert "does not match" in refused(envelope, trusted)


def test_another_key_is_refused(trusted: list[PublicKey]) -> None:
    stranger = Signer.generate_ed25519()
    sentence = refused(sign(stranger, PLAN_TYPE, PAYLOAD), trusted)
    assert stranger.public_key.keyid[:12] in sentence
    assert "no key that is trusted here" in sentence


def test_a_stranger_under_a_trusted_key_id_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    stranger = sign(Signer.generate_ed25519(), PLAN_TYPE, PAYLOAD)
    envelope = changed(stranger, lambda found: found["signatures"][0].update(keyid=signer.public_key.keyid))
    assert "does not match" in refused(envelope, trusted)


def test_a_ticket_key_signs_no_plan(keys: Path) -> None:
    envelope = sign(load_signer(keys / "ticket.key"), PLAN_TYPE, PAYLOAD)
    assert "no key that is trusted here" in refused(envelope, trusted_keys(public_keys(keys), "plan"))
    assert verify(envelope, PLAN_TYPE, trusted_keys(public_keys(keys), "ticket")) == PAYLOAD


def test_no_signature_is_refused(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = changed(sign(signer, PLAN_TYPE, PAYLOAD), lambda found: found["signatures"].clear())
    assert refused(envelope, trusted) == "the envelope has no signature"
    assert "no key that is trusted" in refused(sign(signer, PLAN_TYPE, PAYLOAD), [])


def test_a_copied_signature_counts_once(signer: Signer, trusted: list[PublicKey]) -> None:
    envelope = changed(
        sign(signer, PLAN_TYPE, PAYLOAD), lambda found: found["signatures"].append(dict(found["signatures"][0]))
    )
    other = Signer.generate_ed25519()
    assert "counts once" in refused(envelope, [*trusted, other.public_key], threshold=2)


def test_a_copied_signature_under_another_key_id_counts_once(signer: Signer) -> None:
    """The same key enrolled under two ids must not make two signers of one."""
    public = signer.public_key
    alias = PublicKey("alias", public.keytype, public.scheme, dict(public.keyval))
    envelope = changed(
        sign(signer, PLAN_TYPE, PAYLOAD),
        lambda found: found["signatures"].append({**found["signatures"][0], "keyid": "alias"}),
    )
    assert "1 distinct trusted key(s) signed, at least 2 must" in refused(envelope, [public, alias], threshold=2)
    assert Envelope.from_dict(json.loads(envelope)).verify([public, alias], 2), (
        "the library alone counts key ids, which is why verify() does not leave the counting to it"
    )


def test_two_distinct_keys_reach_a_threshold_of_two(signer: Signer, trusted: list[PublicKey]) -> None:
    other = Signer.generate_ed25519()
    both = [*trusted, other.public_key]
    one = sign(signer, PLAN_TYPE, PAYLOAD)
    assert "at least 2 must" in refused(one, both, threshold=2)
    assert verify(cosign(other, one), PLAN_TYPE, both, threshold=2) == PAYLOAD
    stranger = cosign(Signer.generate_ed25519(), one)
    assert "at least 2 must" in refused(stranger, both, threshold=2)
    assert verify(stranger, PLAN_TYPE, both) == PAYLOAD, "a further signature by a stranger does no harm"


def test_a_threshold_of_none_is_a_mistake_of_the_caller(signer: Signer, trusted: list[PublicKey]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        verify(sign(signer, PLAN_TYPE, PAYLOAD), PLAN_TYPE, trusted, threshold=0)


@pytest.mark.parametrize(
    "envelope",
    [
        b"", b"null", b"[]", b"{}", b"\xff\xfe", b'"text"', b"[" * 100_000,
        b'{"payload": 1, "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": null, "signatures": []}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": null}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [1]}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": "a"}]}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": [], "sig": ""}]}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": "a", "sig": 5}]}',
        b'{"payload": "***", "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payload": "e30=", "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [], "more": 1}',
    ],
)  # fmt: skip
def test_garbled_envelopes_are_refused_in_one_line(envelope: bytes, trusted: list[PublicKey]) -> None:
    sentence = refused(envelope, trusted)
    assert "garbled" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"keytype": "rsa"}, "expected an Ed25519 public key"),
        ({"scheme": "x"}, "expected an Ed25519 public key"),
        ({"use": "everything"}, "expected a key with the use"),
        ({"keyid": ""}, "no key id"),
        ({"keyval": {"public": "abc"}}, "expected 64 hex digits"),
        ({"keyval": {"public": "x" * 64}}, "expected 64 hex digits"),
        ({"keyval": None}, "expected 64 hex digits"),
    ],
)
def test_bad_public_keys_are_refused(keys: Path, change: dict[str, Any], sentence: str) -> None:
    document = {**public_keys(keys)[0], **change}
    with pytest.raises(NotTrusted, match=sentence):
        trusted_keys([document], "plan")


def test_equal_keys_under_two_ids_are_one_key(keys: Path) -> None:
    document = public_keys(keys)[0]
    upper = {"public": document["keyval"]["public"].upper()}
    assert len(trusted_keys([document, {**document, "keyid": "other", "keyval": upper}], "plan")) == 1


def test_a_public_key_file_must_have_its_own_use(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "plan.pub").write_bytes((keys / "ticket.pub").read_bytes())
    with pytest.raises(NotTrusted, match="expected a public key with the use 'plan'"):
        public_keys(tmp_path)
    (tmp_path / "plan.pub").write_text("{")
    with pytest.raises(NotTrusted, match="as JSON"):
        public_keys(tmp_path)
    (tmp_path / "plan.pub").unlink()
    with pytest.raises(InputError, match="no such key"):
        public_keys(tmp_path)
