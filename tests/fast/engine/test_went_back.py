"""A store that went back: hosts know claims that it does not (TRUST.md, fault 23). Nobody is admitted before somebody
looked, and no token that a host knows is used again."""

from __future__ import annotations

from fast.engine.made import RUN, Bench
from underway.core.model.event import HostLine
from underway.executors.base import Report

TOKEN = 40


def speaks(here: Bench, run: str = RUN, token: int = TOKEN) -> None:
    """Host h2 tells of a line that it wrote under a token."""
    line = HostLine(seq=1, at=1.0, mono=1.0, kind="leg-end", run=run, action="prepare/web/h2", token=token)
    here.script.inbox.append(
        Report(run=run, action="prepare/web/h2", leg=0, token=token, host="h2", kind="busy", lines=(line,))
    )


def test_nobody_is_admitted_and_it_is_said_why() -> None:
    here = Bench()
    speaks(here)
    here.settle()
    seen = here.repository.snapshot(RUN)
    assert here.script.orders == [] and seen.actions == {}
    assert (seen.run.state, seen.serial) == ("paused", TOKEN)
    assert seen.run.reason == (
        "h2 worked under token 40, and the store knows none above 1: an older copy of the store was put back; compare"
        " what hosts did ('underway log', their journals), then 'underway resume'"
    )
    assert here.kinds() == ["run-started", "run-paused"]
    here.settle(here.process())
    assert here.kinds() == ["run-started", "run-paused"], "it is told once"
    assert here.repository.verify()[1] == []


def test_once_an_operator_looked_it_goes_on_with_tokens_that_no_host_knows() -> None:
    here = Bench()
    speaks(here)
    here.settle()
    here.control.resume("compared")
    here.settle()
    assert len(here.script.orders) == 3 and min(order.token for order in here.script.orders) > TOKEN
    assert here.repository.snapshot(RUN).run.reason == ""


def test_what_hosts_wrote_in_runs_of_another_store_is_no_sign() -> None:
    here = Bench()
    speaks(here, run="of-another-store")
    here.settle()
    assert len(here.script.orders) == 3 and here.repository.snapshot(RUN).run.state == "running"


def test_a_claim_that_was_just_committed_is_none_either() -> None:
    here = Bench()
    here.settle()
    speaks(here, token=max(order.token for order in here.script.orders))
    here.settle()
    assert here.repository.snapshot(RUN).run.state == "running"
