"""The judge of fleets under faults sees each kind of violation, in records that were written by hand."""

from __future__ import annotations

import pytest

from support.fleet_judge import Fact, Plan, judge, judge_audit, read

PLAN = Plan(
    release="7",
    roles={"db": ("db1", "db2"), "web": ("web1", "web2", "web3")},
    limits={"db": 1, "web": 2},
    limit=2,
    after={"web": ("db",)},
    steps={"turn": "idempotent", "convert": "checked", "pay": "never"},
)


def passed(host: str, process: int = 1) -> list[str]:
    return [f"{host} 7 {step} {what} {process}" for step in PLAN.steps for what in ("begin", "end")]


DBS = [*passed("db1"), *passed("db2")]
GOOD = [*DBS, *passed("web1"), *passed("web2"), *passed("web3")]


def told(*lines: str, over: bool = False, **how: object) -> list[str]:
    entries, wrong = read("".join(f"{number}.00 {line}\n" for number, line in enumerate(lines)))
    return wrong + judge(PLAN, entries, over=over, **how).wrong  # type: ignore[arg-type]


def test_a_good_record_is_good_at_every_moment() -> None:
    for end in range(len(GOOD) + 1):
        assert told(*GOOD[:end]) == []
    assert told(*GOOD, over=True, done=PLAN.hosts) == []


def test_interrupted_steps_may_be_resumed_as_they_are_declared() -> None:
    again = ["db1 7 turn begin 1", "db1 7 turn begin 2", "db1 7 turn end 2", "db1 7 convert begin 3"]
    again += ["db1 7 convert begin 4", "db1 7 convert end 4", "db1 7 pay begin 5"]
    assert told(*again) == []
    assert told(*again, "db1 7 pay begin 6", answers={("db1", "pay"): 1}) == []
    entries, _ = read("".join(f"1.0 {line}\n" for line in again))
    assert judge(PLAN, entries).resumed == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["db1 7 turn begin 1", "db2 7 turn begin 1"], "P1: 2 hosts of db are out, the limit is 1"),
        ([*DBS, "web1 7 turn begin 1", "web2 7 turn begin 1", "web3 7 turn begin 1"], "P1: 3 hosts are out"),
        ([*DBS, *passed("web1")[:-1], "web2 7 turn begin 1", "web3 7 turn begin 1"], "P1: 3 hosts of web"),
        ([*DBS[:-1], "web1 7 turn begin 1"], "P2: web began before db2 of db had finished"),
        (["db1 7 pay begin 1"], "P3: pay began before turn, convert"),
        ([*passed("db1")[:2], "db1 7 pay begin 1"], "P3: pay began before convert"),
        ([*passed("db1"), "db1 7 turn begin 2"], "P3: finished step turn began again"),
        ([*passed("db1")[:-1], "db1 7 pay begin 2"], "P3: pay runs again, and no operator said that it may"),
        (["db1 7 turn begin 1", "db1 7 turn begin 2", "db1 7 turn end 2", "db1 7 turn end 1"], "P3: turn ended after"),
        (["db1 7 evil begin 1"], "P11: line 1, db1: evil of release 7 ran, and no plan says so"),
        (["db1 6 turn begin 1"], "P11: line 1, db1: turn of release 6 ran"),
        (["db9 7 turn begin 1"], "P11: line 1, db9: turn"),
        (["rm -rf /"], "P11: line 1 of the record is by no task of ours"),
    ],
)
def test_each_violation_is_seen(lines: list[str], said: str) -> None:
    assert any(text.startswith(said) for text in told(*lines)), told(*lines)


def test_what_was_left_out_is_seen() -> None:
    assert told(*GOOD[:-1], over=True) == ["P3: web3 did not finish pay"]
    assert told(*GOOD[:-1], done=["web3"])[0].startswith("P3: the store calls web3 done, and it did only")


def test_a_failed_step_is_no_end() -> None:
    assert told("db1 7 turn begin 1", "db1 7 turn fail 1", "db1 7 turn begin 2", "db1 7 turn end 2") == []
    assert told("db1 7 turn begin 1", "db1 7 turn fail 1", "db1 7 convert begin 2")[0].startswith("P3: convert began")


def facts(*words: str) -> list[Fact]:
    """``claimed db1 4``: kind, host, token."""
    parts = [[*word.split(), "", ""] for word in words]
    return [Fact(seq, kind, host, int(token or 0), kind) for seq, (kind, host, token, *_) in enumerate(parts, 1)]


def audit(*words: str, over: bool = False, said: tuple[str, ...] = ()) -> list[str]:
    return judge_audit(facts(*words), hosts=["db1"], budget=1, over=over, said=said)


def test_a_good_audit_is_good() -> None:
    assert audit("hold db1", "release db1", "claimed db1 4", "failed db1", "retry db1", "claimed db1 5", "done db1",
                 over=True) == []  # fmt: skip
    assert audit("claimed db1 4", "unknown db1", "started db1", "claimed db2 5") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["claimed db1 4", "claimed db2 4"], "P4: entry 2: db2 was let in with token 4 after 4"),
        (["hold db1", "claimed db1 4"], "P5: entry 2: db1 was let in while it was held"),
        (["run-paused", "claimed db1 4"], "P5: entry 2: db1 was let in while the run was paused"),
        (["claimed db2 1", "failed db2", "claimed db1 4"], "P6: entry 3: db1 was let in after db2 failed"),
        (["claimed db2 1", "unknown db2", "claimed db1 4"], "P6: entry 3: db1 was let in after db2 failed"),
    ],
)
def test_each_violation_of_the_audit_is_seen(words: list[str], said: str) -> None:
    assert audit(*words) == [said]


def test_what_the_audit_lacks_is_seen() -> None:
    assert audit("claimed db1 4", over=True) == ["the run is done, and the audit does not say that db1 is"]
    assert audit("done db1", over=True) == ["P4: db1 did its work, and the audit does not say that it was let in"]
    assert audit(said=("because",)) == ["I7: an operator's word was acknowledged and is not in the audit: because"]
