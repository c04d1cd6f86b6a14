"""The agent with the real runner and a real ansible-core, its link within the process: what it does, and what no letter
makes it do."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.runner.kit import Kit, effect
from support.near_agent import Near, open_order, sha, until_ended, wait_until
from underway import trust
from underway.executors.mail import BLOBS, ORDERS, REPORTS, put_blob
from underway.executors.pull import cancellation
from underway_agent import letters
from underway_agent.letters import OpenOrder, Orders, Part

pytestmark = pytest.mark.service


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def kit(tmp_path: Path, log: Path) -> Kit:
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    return Kit(
        tmp_path,
        [
            {"id": "web.upgrade.one", "tasks": [effect(log, "one")]},
            {"id": "web.upgrade.wait", "idempotent": True, "tasks": [{"name": "w", "ansible.builtin.shell": wait}]},
            {"id": "web.upgrade.two", "tasks": [effect(log, "two")]},
        ],
    )


@pytest.fixture
def near(tmp_path: Path, kit: Kit) -> Iterator[Near]:
    made = Near(tmp_path, kit)
    yield made
    made.close()


def go(kit: Kit) -> None:
    (kit.root / "go").touch()


def effects(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def at_work(kit: Kit) -> bool:
    return any(line.get("step") == "web.upgrade.wait" for line in kit.journal())


def test_an_order_is_fetched_done_and_reported(near: Near, kit: Kit, log: Path) -> None:
    go(kit)
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    found = until_ended(executor)
    assert {report.kind for report in found[:-1]} <= {"accepted", "progress"} and found[-1].kind == "finished"
    assert effects(log) == ["one", "two"]
    lines = [line.seq for report in found for line in report.lines]
    assert lines == [line["seq"] for line in kit.journal()], "the coordinator's copy of the journal is another one"
    hello = near.mail.get("agents/h1")
    assert hello is not None
    said = json.loads(near.enrolments.verify("h1", letters.HELLO_TYPE, hello.data))
    assert (said["protocol"], said["enrolled"], said["runner"]) == (1, True, "0.1.0")
    executor.reports(0)
    again = near.executor()
    again.submit(near.order())
    assert until_ended(again)[-1].kind == "finished"
    assert effects(log) == ["one", "two"], "the same ticket made the steps run again"


def test_an_agent_that_ends_and_begins_goes_on_where_the_host_is(near: Near, kit: Kit, log: Path) -> None:
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    near.end()
    go(kit)
    wait_until(lambda: kit.journal()[-1]["kind"] == "leg-end")
    near.begin()
    assert until_ended(executor)[-1].kind == "finished"
    assert effects(log) == ["one", "two"]


def test_without_a_link_what_is_at_work_is_finished_and_nothing_is_started(near: Near, kit: Kit, log: Path) -> None:
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    near.link.down = True
    go(kit)
    wait_until(lambda: kit.journal()[-1]["kind"] == "leg-end")
    later = near.order(2, run="r2")
    executor.submit(dataclasses.replace(later, run="r2"))
    executor.reports(0)
    asked = near.link.asked
    wait_until(lambda: near.link.asked > asked + 3)
    assert {line["token"] for line in kit.journal() if line["kind"] == "accepted"} == {1}
    near.link.down = False
    wait_until(lambda: kit.journal()[-1].get("token") == 2 and kit.journal()[-1]["kind"] == "leg-end")
    assert any("nothing is started meanwhile" in text for text in near.said)


def test_an_order_that_is_taken_away_while_the_host_is_busy_is_not_begun(near: Near, kit: Kit, log: Path) -> None:
    executor = near.executor()
    executor.submit(near.order())
    near.begin()
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    mine = near.order(2, run="r1")
    near.mail.put(ORDERS + "h1", letters.write_orders(Orders((open_order(mine, token=2),))))
    wait_until(lambda: "busy" in standings(near))
    near.mail.put(ORDERS + "h1", letters.write_orders(Orders()))
    go(kit)
    wait_until(lambda: kit.journal()[-1]["kind"] == "leg-end")
    asked = near.link.asked
    wait_until(lambda: near.link.asked > asked + 3)
    assert {line["token"] for line in kit.journal() if line["kind"] == "accepted"} == {1}


def standings(near: Near) -> list[str]:
    """How the host's own last letter says that its orders stand."""
    found = near.mail.get(REPORTS + "h1")
    if found is None:
        return []
    report = letters.read_report(near.enrolments.verify("h1", letters.REPORT_TYPE, found.data))
    return [standing.kind for standing in report.standings]


def test_a_coordinator_that_lost_its_copy_reads_all_lines_again(near: Near, kit: Kit) -> None:
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    wait_until(lambda: executor.reports(0.1))
    mine = near.order()
    ahead = dataclasses.replace(mine, since=len(kit.journal()))
    other = near.executor()
    other.submit(ahead)
    other.reports(0)
    lost = near.executor()
    lost.submit(mine)
    go(kit)
    found = until_ended(lost)
    lines = [line.seq for report in found for line in report.lines]
    assert lines == [line["seq"] for line in kit.journal()] and found[-1].kind == "finished"


def test_a_cancelled_leg_is_stopped(near: Near, kit: Kit, log: Path) -> None:
    near.begin()
    executor = near.executor()
    mine = near.order()
    executor.submit(mine)
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    executor.cancel(mine)
    assert until_ended(executor)[-1].kind == "failed", "the step is idempotent: what it did is no question"
    assert effects(log) == ["one"] and kit.journal()[-1]["kind"] == "cancelled"


def test_an_agent_without_a_runner_refuses(near: Near, kit: Kit) -> None:
    near.begin(runner=("/nowhere/python",))
    executor = near.executor()
    executor.submit(near.order())
    last = until_ended(executor)[-1]
    assert (last.kind, "no runner on this host" in last.text) == ("refused", True), last.text


def test_vault_values_are_opened_by_a_file_of_the_host(near: Near, kit: Kit, tmp_path: Path) -> None:
    go(kit)
    secret = tmp_path / "vault"
    secret.write_text("open sesame\n")
    secret.chmod(0o644)
    near.begin(vault_password_file=str(secret))
    executor = near.executor()
    executor.submit(near.order())
    last = until_ended(executor)[-1]
    assert last.kind == "refused" and "others can read it" in last.text
    assert "open sesame" not in repr(near.store.list("").items)


# --- what no letter makes a host do (P11) -----------------------------------------------------------------------------


def leave(near: Near, letter: OpenOrder, plan: bytes) -> None:
    """What a thief of the store does: he puts an order where the agent looks for it."""
    put_blob(near.mail, letter.plan, plan)
    near.mail.put(ORDERS + "h1", letters.write_orders(Orders((letter,))))


def refusal(near: Near) -> str:
    wait_until(lambda: "refused" in standings(near))
    found = near.mail.get(REPORTS + "h1")
    assert found is not None
    report = letters.read_report(near.enrolments.verify("h1", letters.REPORT_TYPE, found.data))
    return report.standings[0].text


def test_forged_redirected_and_truncated_orders_run_nothing(near: Near, kit: Kit, tmp_path: Path, log: Path) -> None:
    go(kit)
    near.begin()
    mine = near.order()
    (tmp_path / "evil").mkdir()
    evil = Kit(tmp_path / "evil", [{"id": "web.upgrade.one", "tasks": [effect(log, "evil")]}])
    theirs = evil.request()
    forged, plan = base64.b64decode(theirs["ticket"]), base64.b64decode(theirs["plan"])
    elsewhere = near.order(host="h2", target="h2", action="control/web/h2")
    other_files = {name: Part(base64.b64decode(data)) for name, data in theirs["files"].items()}
    cases = {
        "a ticket and a plan of another's keys": (open_order(mine, ticket=forged, plan=sha(plan)), plan),
        "a ticket of ours with another's plan": (open_order(mine, plan=sha(plan)), plan),
        "a ticket that was made for another host": (open_order(mine, ticket=elsewhere.ticket), mine.plan),
        "files of another": (open_order(mine, files=other_files), mine.plan),
        "a ticket that was cut": (open_order(mine, ticket=mine.ticket[:-20]), mine.plan),
        "a plan that was cut": (open_order(mine, plan=sha(mine.plan[:-20])), mine.plan[:-20]),
        "a ticket that has expired": (open_order(near.order(issued=1.0, expires=2.0)), mine.plan),
        "no file": (open_order(mine, files={}), mine.plan),
        "a name that leads elsewhere": (open_order(mine, files={"../x": Part(b"x")}), mine.plan),
    }
    for token, (name, (letter, with_plan)) in enumerate(cases.items(), 100):
        leave(near, dataclasses.replace(letter, token=token), with_plan)
        said = refusal(near)
        assert said, name
        near.mail.put(ORDERS + "h1", letters.write_orders(Orders()))
        near.mail.delete([f"{REPORTS}h1"])
    assert kit.journal() == [] and effects(log) == []


def test_a_plan_under_a_wrong_name_is_not_taken(near: Near, kit: Kit, log: Path) -> None:
    go(kit)
    near.begin()
    mine = near.order()
    letter = open_order(mine)
    near.mail.put(f"{BLOBS}{letter.plan}/0000", b"another plan")
    near.mail.put(f"{BLOBS}{letter.plan}/head", b"1")
    near.mail.put(ORDERS + "h1", letters.write_orders(Orders((letter,))))
    wait_until(lambda: near.mail.get(REPORTS + "h1"))
    wait_until(lambda: "waits" in standings(near))
    assert kit.journal() == []


def test_a_replayed_order_runs_nothing_again(near: Near, kit: Kit, log: Path) -> None:
    go(kit)
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    executor.reports(0)
    kept = near.mail.get(ORDERS + "h1")
    assert kept is not None
    assert until_ended(executor)[-1].kind == "finished"
    executor.submit(near.order(2))
    assert until_ended(executor)[-1].kind == "finished"
    executor.reports(0)
    assert effects(log) == ["one", "two"] * 2 or effects(log) == ["one", "two"]
    before = effects(log)
    near.mail.delete([f"{REPORTS}h1"])
    near.mail.put(ORDERS + "h1", kept.data)
    assert "is stale" in refusal(near)
    assert effects(log) == before


def test_a_cancellation_that_is_not_ours_stops_nobody(near: Near, kit: Kit, log: Path) -> None:
    near.begin()
    executor = near.executor()
    mine = near.order()
    executor.submit(mine)
    executor.reports(0)
    wait_until(lambda: at_work(kit))
    key = ("r1", "control/web/h1", 0, 1)
    stranger = trust.Signer.generate_ed25519()
    for signer, of in (
        (stranger, cancellation("demo", "h1", key)), (near.signer, cancellation("demo", "h1", (*key[:3], 0))),
        (near.signer, cancellation("demo", "h2", key)), (near.signer, cancellation("test", "h1", key)),
        (near.signer, b"[7]"),
    ):  # fmt: skip
        told = len(near.said)
        word = trust.sign(signer, letters.CANCEL_TYPE, of)
        near.mail.put(ORDERS + "h1", letters.write_orders(Orders((open_order(mine, cancel=word),))))
        wait_until(lambda told=told: len(near.said) > told)  # type: ignore[misc]
    go(kit)
    assert until_ended(executor)[-1].kind == "finished"
    assert effects(log) == ["one", "two"]


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"protocol":1}', b'{"protocol":1,"since":0,"orders":[{}]}'])
def test_rubbish_for_a_letter_is_told_and_survived(near: Near, kit: Kit, data: bytes) -> None:
    go(kit)
    near.begin()
    near.mail.put(ORDERS + "h1", data)
    wait_until(lambda: near.mail.get(REPORTS + "h1"))
    executor = near.executor()
    executor.submit(near.order())
    assert until_ended(executor)[-1].kind == "finished"


def test_a_coordinator_too_far_ahead_is_refused_with_words(near: Near, kit: Kit) -> None:
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    near.mail.put(ORDERS + "h1", b'{"protocol":3,"changed":"everything"}')
    wait_until(lambda: near.mail.get(REPORTS + "h1"))
    found = near.mail.get(REPORTS + "h1")
    assert found is not None
    report = letters.read_report(near.enrolments.verify("h1", letters.REPORT_TYPE, found.data))
    assert report.trouble == (
        "the coordinator speaks protocol 3, this agent speaks 1: only neighbours understand each other"
        " (bring this agent to a newer version)"
    )
    assert kit.journal() == []
