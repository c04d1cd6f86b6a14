"""The executor for hosts that fetch their work, over embedded stores and a server, against letters written by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.pulling import CLUSTER, Site, line, order, scratch, standing
from underway.executors.base import Executor, Report
from underway.executors.mail import BLOBS, ORDERS, REPORTS, get_blob
from underway.executors.pull import AGAIN, INLINE, SILENT, PullExecutor
from underway.store.base import Store
from underway.store.memory import MemoryStore
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent import dsse, letters
from underway_agent.kv.memory import MemoryKv, MemoryServer


@pytest.fixture(params=["memory", "sqlite", "server"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    store: Store = MemoryStore()
    if request.param == "sqlite":
        store = SqliteStore(scratch(tmp_path / "s") / "state.db", min_free=0)
    elif request.param == "server":
        store = ServedStore(MemoryKv(MemoryServer()), "underway/demo")
    made = Site(store)
    made.enrol("web1")
    yield made
    store.close()


def kinds(found: list[Report]) -> list[str]:
    return [report.kind for report in found]


def test_it_is_an_executor(site: Site) -> None:
    assert isinstance(site.executor(), Executor)


def test_an_order_lies_there_for_its_host_and_is_followed_to_its_end(site: Site) -> None:
    executor, mine = site.executor(), order(known=3, since=4)
    executor.submit(mine)
    assert executor.reports(0) == []
    (left,) = site.orders("web1").orders
    assert (left.key, left.ticket, left.known, site.orders("web1").since) == (
        ("r1", mine.action, 0, 1),
        b"ticket",
        3,
        4,
    )
    assert get_blob(site.mail, left.plan) == b"plan"
    assert left.files["web.yml"].data == b"[]"
    site.write("web1", standing(mine, "accepted"))
    assert kinds(executor.reports(5)) == ["accepted"]
    site.write("web1", standing(mine, "accepted"), lines=[line(5, mine, "begin", step="s")], after=4)
    (told,) = executor.reports(5)
    assert (told.kind, [one.seq for one in told.lines], told.host) == ("progress", [5], "web1")
    site.write("web1", standing(mine, "accepted"), lines=[line(5, mine, "begin", step="s")], after=4)
    assert executor.reports(0) == [], "a line was told twice"
    site.write("web1", standing(mine, "finished", duration=2.5), lines=[line(6, mine, "leg-end")], after=5)
    progress, ended = executor.reports(5)
    assert (progress.lines[0].seq, ended.kind, ended.duration) == (6, "finished", 2.5)
    executor.reports(0)
    assert site.orders("web1").orders == (), "an order that has ended still lies there"
    site.write("web1", standing(mine, "finished"))
    assert executor.reports(0) == []


def test_submitting_again_changes_nothing(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    mark = site.mail.get(ORDERS + "web1")
    executor.submit(mine)
    executor.reports(0)
    other = site.executor()
    other.submit(mine)
    other.reports(0)
    assert site.mail.get(ORDERS + "web1") == mark, "the same order was written again"


def test_a_new_coordinator_hears_what_its_predecessor_did_not_live_to_read(site: Site) -> None:
    first, mine = site.executor(), order()
    first.submit(mine)
    first.reports(0)
    site.write("web1", standing(mine, "failed", text="task failed", step="s"), lines=[line(1, mine, "leg-end", rc=1)])
    second = site.executor()
    second.submit(mine)
    assert kinds(second.reports(0)) == ["progress", "failed"]


def test_lines_that_somebody_else_acknowledged_are_asked_for_again(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    site.write("web1", standing(mine, "finished"), lines=[line(8, mine)], after=7)
    assert executor.reports(0) == []
    assert executor.reports(0) == []
    assert site.orders("web1").since == 0
    whole = [line(number, mine) for number in range(1, 9)]
    site.write("web1", standing(mine, "finished"), lines=whole, after=0)
    assert kinds(executor.reports(0)) == ["progress", "finished"]


def test_many_lines_are_acknowledged_and_the_end_waits_for_the_last(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    site.write("web1", standing(mine, "finished"), lines=[line(1, mine), line(2, mine)], more=True)
    assert kinds(executor.reports(0)) == ["progress"]
    executor.reports(0)
    assert site.orders("web1").since == 2
    site.write("web1", standing(mine, "finished"), lines=[line(3, mine)], after=2)
    assert kinds(executor.reports(0)) == ["progress", "finished"]


def test_lines_of_other_work_change_no_action(site: Site) -> None:
    """A balancer has orders for two hosts; what it did for one says nothing of the other."""
    executor = site.executor()
    one, two = order(action="control/web/web2"), order(action="control/web/web3")
    executor.submit(one)
    executor.submit(two)
    assert len(site.executor().reports(0)) == 0
    executor.reports(0)
    assert [left.action for left in site.orders("web1").orders] == ["control/web/web2", "control/web/web3"]
    past = order(action="control/web/web9", token=0)
    lines = [line(1, past), line(2, two), line(3, one)]
    site.write("web1", standing(one, "waits"), standing(two, "accepted"), lines=lines)
    found = executor.reports(0)
    assert [(report.kind, report.action) for report in found] == [
        ("busy", one.action), ("progress", two.action), ("progress", one.action),
    ]  # fmt: skip
    assert [seen.seq for report in found for seen in report.lines] == [1, 2, 3]


def test_orders_of_several_coordinators_stand_beside_each_other(site: Site) -> None:
    """Two of one run, and one of another run; a later token of an action takes the place of the one before."""
    first, second, third = site.executor(), site.executor(), site.executor()
    first.submit(order(action="control/web/web2"))
    first.submit(order(action="control/web/web3", token=2))
    first.reports(0)
    second.submit(order(action="control/web/web3", token=5))
    second.reports(0)
    third.submit(order(run="r2"))
    third.reports(0)
    assert [(left.run, left.action, left.token) for left in site.orders("web1").orders] == [
        ("r2", "control/web/web1", 1), ("r1", "control/web/web3", 5), ("r1", "control/web/web2", 1),
    ]  # fmt: skip


def test_what_a_dead_coordinator_left_goes_once_the_host_says_that_it_is_over(site: Site) -> None:
    dead, alive = site.executor(), site.executor()
    old, mine = order(run="r1"), order(run="r2")
    dead.submit(old)
    dead.reports(0)
    alive.submit(mine)
    alive.reports(0)
    site.write("web1", standing(old, "refused", text="expired"), standing(mine, "accepted"))
    alive.reports(0)
    assert len(site.orders("web1").orders) == 2, "a letter was written for nothing"
    site.write("web1", standing(old, "refused", text="expired"), standing(mine, "finished"))
    alive.reports(0)
    alive.reports(0)
    assert site.orders("web1").orders == ()


def test_an_order_that_somebody_wrote_over_is_left_again(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    site.mail.put(ORDERS + "web1", letters.write_orders(letters.Orders()))
    site.write("web1")
    executor.reports(0)
    executor.reports(0)
    assert [left.key for left in site.orders("web1").orders] == [("r1", mine.action, 0, 1)]


def test_a_plan_that_another_run_cleared_away_is_left_again(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    digest = site.orders("web1").orders[0].plan
    site.mail.delete([f"{BLOBS}{digest}/0000", f"{BLOBS}{digest}/head"])
    site.write("web1", standing(mine, "waits", text="not begun: no such plan"))
    executor.reports(0)
    executor.reports(0)
    assert get_blob(site.mail, digest) == b"plan"


def test_what_nobody_waits_for_is_taken_back_unless_it_has_begun(site: Site) -> None:
    site.enrol("web2")
    executor = site.executor()
    begun, not_begun = order(), order("web2")
    executor.submit(begun)
    executor.submit(not_begun)
    executor.reports(0)
    site.write("web1", standing(begun, "accepted"))
    executor.reports(0)
    executor.withdraw("r1", begun.action)
    executor.withdraw("r1", not_begun.action)
    executor.withdraw("r1", "control/web/web9")
    executor.reports(0)
    assert len(site.orders("web1").orders) == 1 and site.orders("web2").orders == ()
    site.write("web1", standing(begun, "finished"))
    assert kinds(executor.reports(0)) == ["finished"], "the host's word on what has begun was lost"


def test_closing_takes_back_what_nobody_would_follow(site: Site) -> None:
    site.enrol("web2")
    executor = site.executor()
    begun, not_begun = order(), order("web2")
    executor.submit(begun)
    executor.submit(not_begun)
    executor.reports(0)
    site.write("web1", standing(begun, "accepted"))
    executor.reports(0)
    executor.close()
    assert len(site.orders("web1").orders) == 1 and site.orders("web2").orders == ()


def test_a_letter_holds_no_more_than_stores_can(site: Site) -> None:
    executor = site.executor()
    noise = bytes(random.Random(1).randbytes(INLINE))
    for number in range(30):
        executor.submit(order(action=f"control/web/web{number}", files=(("web.yml", noise),)))
    executor.reports(0)
    found = site.mail.get(ORDERS + "web1")
    assert found is not None and len(found.data) <= letters.LARGEST
    done = site.orders("web1").orders[0]
    site.write("web1", letters.Standing(*done.key, "finished"))
    executor.reports(0)
    executor.reports(0)
    assert site.orders("web1").orders[0].key != done.key


def test_large_files_and_the_plan_are_left_once_and_those_that_nobody_names_go(site: Site) -> None:
    executor, mine = site.executor(), order(plan=b"x" * 300_000, files=(("web.yml", bytes(INLINE + 1)),))
    executor.submit(mine)
    executor.reports(0)
    (left,) = site.orders("web1").orders
    assert get_blob(site.mail, left.plan) == b"x" * 300_000
    assert get_blob(site.mail, left.files["web.yml"].digest) == bytes(INLINE + 1)
    beside = site.executor()
    beside.submit(order(run="r2", plan=b"other"))
    beside.reports(0)
    assert get_blob(site.mail, left.plan) is not None, "the plan of a run that goes on was cleared away"
    site.write("web1", standing(mine, "finished"))
    executor.reports(0)
    executor.reports(0)
    new = site.executor()
    new.submit(order(run="r3", plan=b"third"))
    new.reports(0)
    assert get_blob(site.mail, left.plan) is None and get_blob(site.mail, left.files["web.yml"].digest) is None
    assert sorted(one.key[-4:] for one in site.mail.list(BLOBS)[0]) == ["0000", "0000", "head", "head"]


def test_silence_is_unreachable_and_a_word_ends_it(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    site.write("web1", standing(mine, "accepted"))
    assert kinds(executor.reports(0)) == ["accepted"]
    site.clock.now += SILENT - 1
    assert executor.reports(0) == []
    site.clock.now += 2
    (silent,) = executor.reports(0)
    assert (silent.kind, silent.text) == ("unreachable", "its agent has not written (for 31 s)")
    site.clock.now += AGAIN / 2
    assert executor.reports(0) == []
    site.clock.now += AGAIN
    assert kinds(executor.reports(0)) == ["unreachable"]
    site.write("web1", standing(mine, "finished"))
    assert kinds(executor.reports(0)) == ["finished"]
    site.clock.now += 1000
    assert executor.reports(0) == [], "a host without orders owes no word"


def test_a_host_without_an_agent_is_refused_at_once(site: Site) -> None:
    executor = site.executor()
    executor.submit(order("web2"))
    (said,) = executor.reports(0)
    assert (said.kind, said.text) == (
        "refused", "web2: it has no agent yet: 'underway host enrol web2' shows what to do there",
    )  # fmt: skip
    site.enrolments.revoke("web1", "stolen", "ada", 1.0)
    executor.submit(order())
    (said,) = executor.reports(0)
    assert said.kind == "refused" and "was revoked (stolen)" in said.text
    assert site.mail.get(ORDERS + "web1") is None or site.orders("web1").orders == ()


@pytest.mark.parametrize("step", [1, 2])
def test_an_agent_of_a_neighbouring_protocol_works_and_others_are_refused(site: Site, step: int) -> None:
    site.hello("web1", letters.PROTOCOL + step)
    executor = site.executor()
    executor.submit(order())
    found = executor.reports(0)
    if step == 1:
        assert found == [] and site.orders("web1").orders
        return
    assert [(report.kind, report.text) for report in found] == [
        (
            "refused",
            "the agent of web1 speaks protocol 3, this coordinator speaks 1: only neighbours understand each other"
            " (bring this coordinator to a newer version)",
        )
    ]


# --- letters that must not count (P11) --------------------------------------------------------------------------------


def followed(site: Site) -> tuple[PullExecutor, letters.Standing]:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    assert executor.reports(0) == []
    return executor, standing(mine, "finished")


def trouble(site: Site, executor: PullExecutor) -> str:
    """Why a host's letters do not count: told once it has been silent long enough."""
    assert executor.reports(0) == []
    site.clock.now += SILENT + 1
    (said,) = executor.reports(0)
    assert said.kind == "unreachable"
    return said.text


def test_a_forged_report_does_not_count(site: Site) -> None:
    executor, done = followed(site)
    site.keys["web1"] = Ed25519PrivateKey.generate()
    site.write("web1", done)
    assert "which is no key that is trusted here" in trouble(site, executor)


def test_a_report_of_another_host_does_not_count(site: Site) -> None:
    site.enrol("web2")
    executor, done = followed(site)
    site.mail.put(REPORTS + "web1", site.letter("web2", done))
    assert "no key that is trusted" in trouble(site, executor)
    site.keys["web1"], site.keys["web2"] = site.keys["web2"], site.keys["web1"]
    executor, done = followed(site)
    site.mail.put(REPORTS + "web1", site.letter("web2", done))  # signed by web1, about web2
    assert "it is of host 'web2'" in trouble(site, executor)


def test_a_report_on_another_run_leg_or_token_changes_nothing(site: Site) -> None:
    executor, done = followed(site)
    for change in ({"run": "r0"}, {"leg": 1}, {"token": 2}, {"action": "control/web/web2"}):
        site.write("web1", letters.Standing(**{**vars(done), **change}))
        assert executor.reports(0) == []


def test_a_letter_that_is_put_back_does_not_count(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    old = site.letter("web1", standing(mine, "accepted"))
    site.mail.put(REPORTS + "web1", old)
    assert kinds(executor.reports(0)) == ["accepted"]
    site.clock.now += SILENT - 1
    site.mail.put(REPORTS + "web1", old)
    site.clock.now += 2
    (said,) = executor.reports(0)
    assert (said.kind, said.text) == (
        "unreachable", "a letter in its name does not count: it is one from before, put back (for 31 s)",
    )  # fmt: skip


def test_a_copy_of_a_machine_is_told(site: Site) -> None:
    """A cloned disk has the host's key, and another boot: two that write in turns are no reboot."""
    executor, _ = followed(site)
    for boot in ("b1", "b2"):
        site.write("web1", boot=boot)
        assert executor.reports(0) == []
    site.write("web1", boot="b1")
    assert "two machines write in its name" in trouble(site, executor)


def test_a_letter_of_a_boot_before_does_not_count(site: Site) -> None:
    executor, done = followed(site)
    old = site.letter("web1", done, boot="b1", uptime=9000.0)
    site.write("web1", boot="b1")
    assert executor.reports(0) == []
    site.write("web1", boot="b2", uptime=5.0)
    assert executor.reports(0) == []
    site.mail.put(REPORTS + "web1", old)
    assert "put back" in trouble(site, executor)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_truncated_report_does_not_count(site: Site, cut: int) -> None:
    executor, done = followed(site)
    site.mail.put(REPORTS + "web1", site.letter("web1", done)[:cut])
    assert "garbled" in trouble(site, executor)


def test_another_kind_of_signed_word_is_no_report(site: Site) -> None:
    executor, _ = followed(site)
    site.mail.put(REPORTS + "web1", dsse.sign(site.keys["web1"], letters.HELLO_TYPE, b'{"protocol":1}'))
    assert "expected 'application/vnd.underway.report+json'" in trouble(site, executor)


def test_signed_rubbish_is_told_and_survived(site: Site) -> None:
    executor, done = followed(site)
    good = json.loads(letters.write_report(letters.Reported(CLUSTER, "web1", "b1", 1.0, standings=(done,))))
    for change in (
        {"standings": [{**vars(done), "kind": "won"}]}, {"lines": [{"seq": "x"}]}, {"lines": 7}, {"uptime": "soon"},
        {"after": -1}, {"protocol": None}, {"protocol": 9}, {"host": 3}, {"standings": [7]}, {"lines": [[1]]},
    ):  # fmt: skip
        payload = json.dumps({**good, **change}).encode()
        site.mail.put(REPORTS + "web1", dsse.sign(site.keys["web1"], letters.REPORT_TYPE, payload))
        assert executor.reports(0) == [], change
    assert "does not count" in trouble(site, executor)


def test_rubbish_in_the_place_of_orders_is_replaced(site: Site) -> None:
    executor = site.executor()
    site.mail.put(ORDERS + "web1", b"\xff{")
    executor.submit(order())
    executor.reports(0)
    assert len(site.orders("web1").orders) == 1


def test_cancelling_leaves_a_word_that_only_we_can_sign(site: Site) -> None:
    executor, mine = site.executor(), order()
    executor.submit(mine)
    executor.reports(0)
    executor.cancel(mine)
    executor.reports(0)
    (left,) = site.orders("web1").orders
    public = site.signer.public_key.keyval["public"]
    said = json.loads(dsse.verify(left.cancel, letters.CANCEL_TYPE, [public]))
    assert said == {"cluster": CLUSTER, "host": "web1", "run": "r1", "action": mine.action, "leg": 0, "token": 1}
