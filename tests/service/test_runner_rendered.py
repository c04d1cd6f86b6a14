"""The runner executes what ``render`` writes: signed, carried by the local executor, all legs, killed in between."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.render_samples import sample
from underway import trust
from underway.core.model.base import canonical, digest, replace
from underway.core.model.plan import Plan
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, RunRecord
from underway.core.model.ticket import PLAN_TYPE
from underway.engine.clock import SystemClock
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.executors.base import Order, Report
from underway.executors.local import LocalExecutor
from underway.render.seal import bundle, seal

pytestmark = pytest.mark.service

ACTION = "control/controller/ctrl2"
FINAL = ("finished", "failed", "unknown", "refused")


class Bench:
    """A sealed, signed plan, enrolled hosts and an executor."""

    def __init__(self, root: Path) -> None:
        self.log = root / "log"
        self.plan: Plan = seal(sample(log=str(self.log)))
        trust.create_keys(root / "keys")
        payload = canonical(self.plan)
        envelope = trust.sign(trust.load_signer(root / "keys" / "plan.key"), PLAN_TYPE, payload)
        run = RunRecord(id="r1", cluster=self.plan.cluster, plan=digest(payload), source="2025.2", target="2026.1")
        signer = trust.load_signer(root / "keys" / "ticket.key")
        self.run = run
        self.orders = OrderBook(self.plan, envelope, run, lambda kind, data: trust.sign(signer, kind, data), bundle)
        self.executor = LocalExecutor(default_directory=root / "hosts")
        for name in ("ctrl2", "lb1"):
            self.executor.enrol(self.plan.hosts[name], self.plan.cluster, trust.public_keys(root / "keys"))

    def order(self, leg: int, token: int = 7) -> Order:
        """The order of a leg, claimed a moment ago."""
        record = ActionRecord(state="claimed", token=token, leg=leg, claimed=SystemClock().now())
        return self.orders.order(ACTION, record, Mirror(), Snapshot(revision=1, run=self.run))

    def leg(self, leg: int, token: int = 7) -> list[Report]:
        """Have a leg done; all its reports."""
        self.executor.submit(self.order(leg, token))
        found: list[Report] = []
        for _ in range(60):
            found += self.executor.reports(1.0)
            if found and found[-1].kind in FINAL:
                return found
        raise AssertionError(f"leg {leg} does not end: {found}")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.executor.close()


def words(log: Path) -> list[str]:
    return [line.split()[2] for line in log.read_text().splitlines()]


def test_all_legs_of_an_action_run_where_they_belong(bench: Bench) -> None:
    for leg in range(3):
        end = bench.leg(leg)[-1]
        assert (end.kind, end.text) == ("finished", "")
        assert end.host == ("ctrl2" if leg == 1 else "lb1")
    assert words(bench.log) == [
        "keystone-leave",
        "keystone-turn", "keystone-tidy-5000", "keystone-restart",
        "glance-turn-9292", "glance-restart-9292", "glance-tell",
        "keystone-join",
    ]  # fmt: skip
    assert {line.split()[1] for line in bench.log.read_text().splitlines()} == {"ctrl2"}


@pytest.mark.parametrize(
    "point", ["after-notify@1", "before-end@1", "before-end@3", "before-handler@1", "after-notify@3"]
)
def test_a_killed_leg_is_resumed_with_its_handlers(bench: Bench, point: str, tmp_path: Path) -> None:
    Path(f"{bench.log}.turned").touch()  # what the check of the first step looks at: interrupted, it had happened
    os.environ["UNDERWAY_RUNNER_FAILPOINT"] = point
    try:
        process = bench.executor  # only what it starts now has the failpoint
        process.submit(bench.order(1))
        first: list[Report] = []
        while not any(report.kind == "accepted" for report in first):
            first += process.reports(1.0)
    finally:
        del os.environ["UNDERWAY_RUNNER_FAILPOINT"]
    found = [*first, *bench.leg(1)]
    assert found[-1].kind == "finished", found[-1]
    lines = [line for report in found for line in report.lines]
    ends = [line.step for line in lines if line.kind == "end"]
    assert sorted(set(ends)) == sorted(ends), "a step ended twice"
    said = words(bench.log)
    assert said.index("keystone-turn") < said.index("keystone-restart")
    assert {"keystone-restart", "glance-turn-9292", "glance-restart-9292", "glance-tell"} <= set(said)
    assert said.count("keystone-turn") == 1
    assert [line.kind for line in lines].count("accepted") == 1


def test_files_of_another_plan_are_refused(bench: Bench) -> None:
    other = seal(replace(bench.plan, settings={"log": "/dev/null"}))
    order = bench.order(1)
    bench.executor.submit(dataclasses.replace(order, files=tuple(sorted(bundle(other, ACTION, 1).items()))))
    found: list[Report] = []
    while not found:
        found = bench.executor.reports(1.0)
    assert found[-1].kind == "refused"
    assert "'inventory.yml' has SHA-256" in found[-1].text
    assert not bench.log.exists()
