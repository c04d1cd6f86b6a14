"""The command line over a store that somebody wrote into: one line that names the key and says what to do, exit code 5
(3 of an audit that does not verify), never a traceback, and nobody is admitted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fast.store.test_hostile_records import BAD, KINDS
from fast.test_cli_exit_codes import Said, Terminal, write
from underway.core.model.event import Event
from underway.core.model.part import Milestone
from underway.core.model.state import ActionRecord, Approval, Health, HostRecord, Leader, PolicyRecord
from underway.records.change import Change
from underway.records.codec import Active, Current, Outages, encode
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.sqlite import SqliteStore

SEES = {
    "Current": "status upgrade", "RunRecord": "status upgrade", "PlanHead": "status upgrade",
    "Admission": "status upgrade", "PolicyRecord": "status upgrade", "ActionRecord": "status upgrade",
    "Approval": "status upgrade", "Outages": "status upgrade", "Hold": "status upgrade", "Health": "status upgrade",
    "Machine": "status upgrade", "Active": "status", "Leader": "upgrade", "AuditHead": "audit log hold upgrade",
    "AuditEntry": "audit log", "HostRecord": "plan", "Milestone": "plan",
    "Durations": "plan",
}  # fmt: skip
"""Which commands read a record of each kind."""

CALLS = {
    "status": "status", "upgrade": "upgrade --plain", "audit": "audit verify", "log": "log",
    "hold": "hold web1 --reason disk", "plan": "plan --to 2.0",
}  # fmt: skip


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A run that waits for an approval, with every kind of record in its store; beside it, a copy of that."""
    (tmp_path / "place").mkdir()
    made = Terminal(tmp_path / "place", monkeypatch, capsys)
    write(made.directory)
    assert made("plan --to 2.0 -o plan.json").code == 0
    assert made("upgrade plan.json --yes --plain").code == 4
    assert made("hold web2 --reason disk").code == 0
    with opened(made) as store:
        fill(store)
    shutil.copytree(made.directory / ".underway", tmp_path / "copy")
    return made


class opened:
    """The store of a terminal's place."""

    def __init__(self, terminal: Terminal) -> None:
        self._store = SqliteStore(terminal.directory / ".underway" / "state.db", min_free=0)

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


def fill(store: Store) -> None:
    """What the first minutes of a run do not write."""
    repository = Repository(store, "small")
    run = repository.current()
    assert run is not None
    seen = repository.snapshot(run.id)
    plan_policy = PolicyRecord(policy=KINDS[PolicyRecord][1].policy, by="me", at=1.0)
    repository.commit(
        Change(
            run.id,
            (Event(at=1.0, kind="note", actor="operator:me", text="all kinds"),),
            approvals={"contract": Approval(stage="contract", by="me", at=1.0)},
            health={"web1": Health(healthy=True, since=1.0, checked=1.0)},
            hosts={"web1": HostRecord(release="1.0", by_run=run.id, at=1.0)},
            policy=plan_policy,
            outage={"web": 1.0},
            durations={"upgrade/web": [1.0]},
        ),
        seen,
    )
    keys = {
        Active: ("active", Active(runs=())),
        Leader: (f"runs/{run.id}/leader", Leader(name="", term=1)),
        Milestone: ("once/nova/finalize", Milestone(release="1", digest="0")),
    }
    store.commit(
        {}, {f"{repository.keys.root}{name}": encode("k", value, kind) for kind, (name, value) in keys.items()}
    )


def check(said: Said, words: str, code: int, call: str) -> None:
    """One line, with the words; no traceback."""
    told = f"underway {call}\n{said}"
    assert said.code == code, told
    assert "Traceback" not in said.out + said.err, told
    last = said.err.rstrip("\n").split("\n")
    assert last[-1].startswith("underway: ") and words in said.err, told
    assert len([line for line in last if line.startswith("underway: ")]) == 1, told


def admitted(store: Store) -> list[str]:
    return [item.key for item in store.list("underway/small/runs/").items if b'"claimed"' in item.value]


def test_commands_over_broken_records_say_which_and_do_nothing(terminal: Terminal, tmp_path: Path) -> None:
    assert {kind.__name__ for kind in KINDS} == SEES.keys()
    for kind, (name, value, _) in KINDS.items():
        bad = "a field to come" if kind in (Current, Outages) else "a format to come" if kind is not Active else "cut"
        with opened(terminal) as store:
            run = Repository(store, "small").current()
            assert run is not None
            key = "underway/small/" + name.replace("runs/r1/", f"runs/{run.id}/").replace(
                "data/compute/h1", "upgrade/web/web1"
            )
            item = store.get(key)
            good = item.value if item is not None else encode(key, value, kind)
            broken = BAD[bad](good)
            assert broken != good
            store.commit({}, {key: broken})
        for command in SEES[kind.__name__].split():
            said = terminal(CALLS[command])
            if command == "audit":
                check(said, "the audit does not verify", 3, CALLS[command])
                assert key in said.err
            else:
                check(said, key, 5, f"{CALLS[command]}   ({kind.__name__})")
        with opened(terminal) as store:
            item = store.get(key)
            assert item is not None and item.value == broken and set(admitted(store)) <= {key}, key
        put_back(terminal, tmp_path)


def put_back(terminal: Terminal, tmp_path: Path) -> None:
    """The store as it was."""
    shutil.rmtree(terminal.directory / ".underway")
    shutil.copytree(tmp_path / "copy", terminal.directory / ".underway")


@pytest.mark.parametrize("name", ["upgrade/web/stranger", "upgrade/nosuch/web1", "x", "a/b/c/d/e"])
def test_an_action_that_no_plan_has_is_named(terminal: Terminal, name: str) -> None:
    with opened(terminal) as store:
        run = Repository(store, "small").current()
        assert run is not None
        kind = next(kind for kind in KINDS if kind.__name__ == "ActionRecord")
        key = f"underway/small/runs/{run.id}/actions/{name}"
        store.commit({}, {key: encode(key, ActionRecord(state="pending"), kind)})
    for command in ("status", "upgrade"):
        check(terminal(CALLS[command]), f"actions/{name}: is of no action of this run's plan", 5, command)
