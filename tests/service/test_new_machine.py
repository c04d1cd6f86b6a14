"""A machine in the place of another, as its runner sees it: what it takes, what it refuses, and what it numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect

pytestmark = pytest.mark.service

BASE = 1_000_000


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Two steps that are not idempotent; the first machine has done them."""
    log = tmp_path / "effects"
    steps = [{"id": f"web.upgrade.{word}", "tasks": [effect(log, word)]} for word in ("one", "two")]
    made = Kit(tmp_path, steps)
    made.enrol()
    made.start()
    assert made.follow()[1]["state"] == "finished"
    assert done(made) == ["one", "two"]
    return made


def done(kit: Kit) -> list[str]:
    path = kit.root / "effects"
    return path.read_text().split() if path.exists() else []


def known(kit: Kit, token: int, known: int, **changes: Any) -> dict[str, Any]:
    """Start with what the coordinator has seen of this host."""
    return kit.call("start", {**kit.request(token, **changes), "known": known})[-1]


def reinstall(kit: Kit) -> None:
    shutil.rmtree(kit.directory)
    (kit.root / "effects").unlink()


def test_a_short_journal_never_begins_again(kit: Kit) -> None:
    last = len(kit.journal())
    reinstall(kit)
    kit.enrol()
    for token in (1, 2):
        said = known(kit, token, last)
        assert said["kind"] == "unknown"
        assert f"the journal ends at line 0, and line {last} of h1 was known" in str(said["text"])
        assert "underway replace h1 --reason WHY" in str(said["text"])
    assert done(kit) == [] and kit.journal() == []


def test_a_disk_that_was_set_back_never_begins_again(kit: Kit) -> None:
    lines = (kit.directory / "journal").read_bytes().splitlines(keepends=True)
    (kit.directory / "journal").write_bytes(b"".join(lines[:2]))
    tokens = json.loads((kit.directory / "tokens.json").read_text())
    (kit.directory / "tokens.json").write_text(json.dumps({**tokens, "seq": 2}))  # a backup is whole
    assert known(kit, 2, len(lines))["kind"] == "unknown"
    assert done(kit) == ["one", "two"]


def test_enrolment_that_says_what_was_seen_keeps_every_ticket_out(kit: Kit) -> None:
    """Also one of a coordinator that has seen nothing itself, or is older than this rule."""
    last = len(kit.journal())
    reinstall(kit)
    request = {"cluster": "demo", "host": "h1", "keys": kit.keys(), "known": last}
    assert kit.call("enrol", request) == [{"kind": "enrolled"}]
    assert kit.start(token=2)["kind"] == "unknown"
    assert done(kit) == []


def test_a_new_machine_does_all_again_and_numbers_above(kit: Kit) -> None:
    last = len(kit.journal())
    reinstall(kit)
    kit.enrol()
    assert known(kit, 2, last, base=BASE, voided=1)["kind"] == "accepted"
    lines, status = kit.follow(token=2, since=last)
    assert status["state"] == "finished"
    assert [line["seq"] for line in lines] == list(range(BASE, BASE + len(lines)))
    assert lines[0]["kind"] == "new-machine"
    assert done(kit) == ["one", "two"]
    assert kit.call("ping")[-1]["last"] == lines[-1]["seq"]
    assert known(kit, 3, lines[-1]["seq"], base=BASE, voided=1)["kind"] == "accepted"
    assert kit.follow(token=3)[1]["state"] == "finished"
    assert done(kit) == ["one", "two"], "on one machine a finished step never runs again"


def test_a_new_machine_refuses_tickets_of_the_one_before(kit: Kit) -> None:
    reinstall(kit)
    request = {"cluster": "demo", "host": "h1", "keys": kit.keys(), "base": BASE}
    for _ in range(2):
        assert kit.call("enrol", request) == [{"kind": "enrolled"}]
    said = kit.start(token=1)
    assert said["kind"] == "refused" and "an old ticket, or the store went back" in said["text"]
    assert done(kit) == []


def test_the_machine_before_takes_no_more_work(kit: Kit) -> None:
    said = kit.start(token=2, base=BASE, voided=1)
    assert said["kind"] == "refused" and "this machine was replaced" in said["text"]
    request = {"cluster": "demo", "host": "h1", "keys": kit.keys(), "base": BASE}
    assert kit.call("enrol", request)[-1]["kind"] == "refused"
    assert done(kit) == ["one", "two"]


def test_a_refused_ticket_leaves_a_stranger_as_it_was(kit: Kit) -> None:
    """A third machine, of which nobody spoke: the word on it must find its journal empty."""
    reinstall(kit)
    kit.enrol()
    assert known(kit, 2, BASE + 5, base=BASE)["kind"] == "unknown"
    assert kit.journal() == []
    assert known(kit, 3, BASE + 5, base=2 * BASE, voided=2)["kind"] == "accepted"
    assert kit.follow(token=3)[1]["state"] == "finished"


def test_what_a_balancer_did_for_the_machine_before_is_void(kit: Kit) -> None:
    """The machine of the leg is the same one; it is the host that the action is about which was replaced."""
    assert kit.start(token=2, voided=1)["kind"] == "accepted"
    assert kit.follow(token=2)[1]["state"] == "finished"
    assert done(kit) == ["one", "two", "one", "two"]
    assert kit.start(token=3, voided=1)["kind"] == "accepted"
    assert kit.follow(token=3)[1]["state"] == "finished"
    assert done(kit) == ["one", "two", "one", "two"]


def test_tickets_without_the_new_fields_have_the_digest_that_they_had(kit: Kit) -> None:
    tokens = json.loads((kit.directory / "tokens.json").read_text())
    before = tokens["actions"]["control/web/h1"]["tickets"]["0"]
    assert kit.start(token=1, base=0, voided=0) == {"kind": "accepted", "text": "has ended"}
    after = json.loads((kit.directory / "tokens.json").read_text())
    assert after["actions"]["control/web/h1"]["tickets"]["0"] == before
