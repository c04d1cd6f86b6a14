"""How long hosts that are at work have been out of reach, and what operators are told of it.

Somebody who looks for a reason wants it long before the work is called unknown, and a blink is not worth a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from underway.core.model.event import HostLine
from underway.core.model.plan import Plan
from underway.core.model.state import ActionRecord
from underway.engine.clock import Clock
from underway.engine.outcomes import PATIENCE, Patience
from underway.executors.base import Report

QUIET = 10.0
"""Seconds of silence before it is told: longer than an SSH server takes to restart."""


def patience(plan: Plan, report: Report, lines: Sequence[HostLine]) -> Patience:
    """How long to wait for the host of a report; ``lines``: its journal as far as it was seen.

    It is believed to reboot where the step that does is open, or is the next one: its beginning may not have been told
    any more.
    """
    steps = plan.pass_of(report.action).legs[report.leg].steps
    ended, last = set(), -1
    for line in lines:
        if (line.run, line.action, line.leg) != (report.run, report.action, report.leg) or line.step not in steps:
            continue
        if line.kind == "begin":
            last = steps.index(line.step)
        elif line.kind == "skip" or (line.kind == "end" and not line.rc):
            ended.add(line.step)
    for step in steps[max(last, 0) : last + 2]:
        if plan.steps[step].reboot and step not in ended:
            return Patience(max(PATIENCE, plan.steps[step].timeout), reboots=True)
    return Patience()


class Silences:
    """By action. Nothing here is an authority: a new process counts anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def seconds(self, report: Report) -> float:
        """For how long the host of a report has been out of reach; 0 for a report that came from it."""
        if report.kind != "unreachable":
            self._since.pop(report.action, None)
            return 0.0
        return self._clock.monotonic() - self._since.setdefault(report.action, self._clock.monotonic())

    def news(self, report: Report, record: ActionRecord, silent: float, patience: Patience) -> str:
        """What is to be told now: that it fell silent, or that it is heard again; empty for neither."""
        if report.action in self._told:
            return f"{report.host} is reached again" if report.kind != "unreachable" else ""
        if record.state not in ("claimed", "running") or silent <= QUIET:
            return ""
        what = "reboots, and was not reached" if patience.reboots else "cannot be reached"
        return (
            f"{report.host} {what} for {silent:.0f} s: {report.text}; its work is called unknown after "
            f"{patience.seconds:.0f} s"
        )

    def told(self, action: str) -> None:
        """The news of an action was written down."""
        self._told ^= {action}
