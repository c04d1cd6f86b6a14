"""Forged, changed, replayed and misdirected tickets are refused, and nothing on the host changes."""
# ruff: noqa: TID251

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from fast.runner.kit import PLAN_TYPE, TICKET_TYPE, Kit, canonical
from underway_runner import trust
from underway_runner.enrol import enrol
from underway_runner.errors import Refused

STEPS = [{"id": "web.upgrade.one", "tasks": [{"name": "t", "ansible.builtin.command": "true"}]}]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    made = Kit(tmp_path, STEPS)
    enrol(made.directory, {"cluster": "demo", "host": "h1", "keys": made.keys()})
    return made


def verify(kit: Kit, request: dict[str, Any]) -> trust.Work:
    return trust.verify(request, trust.load_host(kit.directory))


def test_a_good_ticket_is_accepted(kit: Kit) -> None:
    work = verify(kit, kit.request())
    assert work.where == {"run": "r1", "action": "control/web/h1", "leg": 0, "token": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "h2"}, "is for host 'h2'"),
        ({"cluster": "other"}, "is for cluster 'other'"),
        ({"protocol": 2}, "protocol 2"),
        ({"plan": "0" * 64}, "is for plan 000000000000"),
        ({"action": "control/db/h1"}, "is not in the plan"),
        ({"action": "control/web/h9", "target": "h9"}, "is not in the plan"),
        ({"target": "h2"}, "target 'h2'"),
        ({"leg": 1}, "the plan has 1"),
        ({"leg": -1}, "the plan has 1"),
        ({"leg": True}, "leg: expected int"),
        ({"token": "1"}, "token: expected int"),
        ({"playbook": "inventory.yml"}, "files and digest differ"),
        ({"digest": "0" * 64}, "files and digest differ"),
        ({"steps": []}, "its steps differ"),
        ({"expires": time.time() - 3600}, "expired"),
        ({"issued": time.time() + 3600}, "in the future"),
        ({"mode": "rollback"}, "the plan is one of mode 'upgrade'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"reboots": ["web.upgrade.one"]}, r"reboots: expected \[\] as the plan says"),
    ],
)
def test_a_signed_ticket_that_says_something_else_is_refused(kit: Kit, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        verify(kit, kit.request(**changes))


def test_a_step_that_reboots_is_named_by_the_ticket_too(tmp_path: Path) -> None:
    """So that a runner from before such steps, which would take it for done at once, refuses the unknown field."""
    kit = Kit(tmp_path, [{**STEPS[0], "reboot": True}])
    enrol(kit.directory, {"cluster": "demo", "host": "h1", "keys": kit.keys()})
    assert verify(kit, kit.request()).ticket["reboots"] == ["web.upgrade.one"]
    for wrong in ([], ["web.upgrade.two"], "web.upgrade.one", None):
        with pytest.raises(Refused, match="reboots: expected"):
            verify(kit, kit.request(reboots=wrong))


def test_clocks_may_differ_by_minutes(kit: Kit) -> None:
    verify(kit, kit.request(issued=time.time() + 200, expires=time.time() - 200))


def forged(kit: Kit, request: dict[str, Any]) -> None:
    kit.signers["ticket"] = CryptoSigner.generate_ed25519()
    request["ticket"] = kit.request()["ticket"]


def own_key_id(kit: Kit, request: dict[str, Any]) -> None:
    """Another key under the trusted key's name."""
    trusted = kit.signers["ticket"].public_key.keyid
    stranger = CryptoSigner.generate_ed25519()
    stranger.public_key.keyid = trusted
    kit.signers["ticket"] = stranger
    request["ticket"] = kit.request()["ticket"]


def by_the_other_key(kit: Kit, request: dict[str, Any]) -> None:
    kit.signers["ticket"] = kit.signers["plan"]
    request["ticket"] = kit.request()["ticket"]


def as_the_other_type(kit: Kit, request: dict[str, Any]) -> None:
    payload = canonical(kit.ticket())
    request["ticket"] = base64.b64encode(kit.sign("ticket", PLAN_TYPE, payload)).decode()


def plan_as_ticket(kit: Kit, request: dict[str, Any]) -> None:
    request["ticket"], request["plan"] = request["plan"], request["ticket"]


def payload_changed(kit: Kit, request: dict[str, Any]) -> None:
    envelope = json.loads(base64.b64decode(request["ticket"]))
    ticket = json.loads(base64.b64decode(envelope["payload"]))
    envelope["payload"] = base64.b64encode(canonical({**ticket, "token": 99})).decode()
    request["ticket"] = base64.b64encode(json.dumps(envelope).encode()).decode()


def type_changed(kit: Kit, request: dict[str, Any]) -> None:
    envelope = json.loads(base64.b64decode(kit.request()["plan"]))
    request["ticket"] = base64.b64encode(json.dumps({**envelope, "payloadType": TICKET_TYPE}).encode()).decode()


def unsigned(kit: Kit, request: dict[str, Any]) -> None:
    envelope = json.loads(base64.b64decode(request["ticket"]))
    request["ticket"] = base64.b64encode(json.dumps({**envelope, "signatures": []}).encode()).decode()


def playbook_changed(kit: Kit, request: dict[str, Any]) -> None:
    request["files"]["web.yml"] = base64.b64encode(kit.files["web.yml"] + b" ").decode()


def inventory_changed(kit: Kit, request: dict[str, Any]) -> None:
    request["files"]["inventory.yml"] = base64.b64encode(b"all: {hosts: {h1: {}}}").decode()


def file_too_many(kit: Kit, request: dict[str, Any]) -> None:
    request["files"]["ansible.cfg"] = base64.b64encode(b"[defaults]").decode()


def file_missing(kit: Kit, request: dict[str, Any]) -> None:
    del request["files"]["inventory.yml"]


def file_outside(kit: Kit, request: dict[str, Any]) -> None:
    request["files"]["../host.json"] = ""


def rubbish(kit: Kit, request: dict[str, Any]) -> None:
    request["ticket"] = "%%%"


def nothing(kit: Kit, request: dict[str, Any]) -> None:
    request.clear()


@pytest.mark.parametrize(
    "attack",
    [
        forged, own_key_id, by_the_other_key, as_the_other_type, plan_as_ticket, payload_changed, type_changed,
        unsigned, playbook_changed, inventory_changed, file_too_many, file_missing, file_outside, rubbish, nothing,
    ],
)  # fmt: skip
def test_an_attack_is_refused(kit: Kit, attack: Callable[[Kit, dict[str, Any]], None]) -> None:
    request = kit.request()
    attack(kit, request)
    before = {path.name: path.read_bytes() for path in kit.directory.iterdir() if path.is_file()}
    with pytest.raises(Refused):
        verify(kit, request)
    assert {path.name: path.read_bytes() for path in kit.directory.iterdir() if path.is_file()} == before


def test_a_threshold_counts_keys_and_not_names(tmp_path: Path) -> None:
    kit = Kit(tmp_path, STEPS)
    keys = kit.keys()
    again = {**keys[0], "keyid": "another name"}
    with pytest.raises(Refused, match="is there twice"):
        enrol(kit.directory, {"cluster": "demo", "host": "h1", "keys": [*keys, again]})
    with pytest.raises(Refused):  # one signature, two wanted
        host = trust.HostFile("demo", "h1", (*keys, again), {"threshold": 2})
        trust.verify(kit.request(), host)


def test_the_host_keeps_its_own_policy(kit: Kit) -> None:
    host = trust.load_host(kit.directory)
    for policy, words in (({"roles": ["db"]}, "role 'web'"), ({"modes": ["rollback"]}, "mode 'upgrade'")):
        with pytest.raises(Refused, match=words):
            trust.verify(kit.request(), trust.HostFile(host.cluster, host.host, host.keys, policy))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"cluster": "demo", "host": "h1"},
        {"cluster": "demo", "host": "h1", "keys": [{}]},
        {"cluster": 1, "host": "h", "keys": []},
    ],
)
def test_a_bad_enrolment_changes_nothing(tmp_path: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        enrol(tmp_path / "new", request_)
    assert not (tmp_path / "new").exists()


def test_enrolment_is_idempotent_and_never_replaces(kit: Kit, tmp_path: Path) -> None:
    wanted = {"cluster": "demo", "host": "h1", "keys": kit.keys()}
    assert enrol(kit.directory, wanted) == {"kind": "enrolled"}
    for change in ({"host": "h2"}, {"cluster": "x"}, {"keys": Kit(tmp_path, STEPS).keys()}):
        with pytest.raises(Refused, match="enrolled already"):
            enrol(kit.directory, {**wanted, **change})
    (kit.directory / "journal").unlink()
    with pytest.raises(Refused, match="journal is gone"):
        enrol(kit.directory, wanted)


def test_a_host_that_is_not_enrolled_refuses(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not enrolled"):
        trust.load_host(tmp_path)
