"""What a report changes: pure, so that the same table serves the engine, the simulator and the tests.

Assumptions
    1. A report carries the token of the ticket that it answers; one with another token changes nothing (I3).
    2. Reports may come late, twice, or in another order than they were sent.
Invariants
    1. Success is never inferred: only ``finished`` for the leg that is open moves an action on (F3).
    2. ``unreachable`` never fails an action: once the patience is over it becomes ``unknown`` and keeps its slot (P7).
    3. Every change is one that ``core.model.state.TRANSITIONS`` allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from underway.core.model.base import replace
from underway.core.model.event import EventKind
from underway.core.model.plan import Pass
from underway.core.model.state import FINISHED, ActionRecord
from underway.executors.base import Report

PATIENCE = 120.0
"""Seconds for which a host may be out of reach before its action is called unknown: longer than an sshd restart and
a short network fault, shorter than an operator's patience."""


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds a host may be out of reach before its action is called unknown; ``reboots``: it is at a step
    that reboots it, so that is what it is believed to do."""

    seconds: float = PATIENCE
    reboots: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record after a report, and the event that goes with it (same transaction)."""

    record: ActionRecord
    kind: EventKind
    text: str


def outcomes(
    work: Pass, record: ActionRecord, report: Report, now: float, silent: float = 0.0, patience: Patience | None = None
) -> tuple[Outcome, ...]:
    """The changes that ``report`` makes to ``record``, one after another; empty where it changes nothing.

    ``silent`` is for how many seconds the host has been out of reach (0 for a report that came from it).
    """
    patience = patience or Patience()
    if report.token != record.token or record.state in FINISHED or record.state == "pending" or record.retry:
        return ()
    if report.leg != record.leg or record.state in ("soaking", "failed"):
        return ()
    host = report.host
    if report.kind in ("accepted", "progress"):
        return _at_work(record, now, f"{host} took the ticket")
    if report.kind == "finished":
        return _finished(work, record, report, now)
    if report.kind == "failed":
        begun = _begun(record, now, f"{host} took the ticket")
        reason = report.text or f"step {report.step} failed on {host}"
        return (*begun, _trouble(_last(begun, record), "failed", reason, report.step, now))
    if report.kind == "unknown":
        begun = _begun(record, now, f"{host} took the ticket")
        latest = _last(begun, record)
        reason = report.text or f"whether step {report.step} happened on {host} cannot be told"
        if latest.state == "unknown" and report.step in ("", latest.step):
            if latest.step or reason == latest.reason or not report.text:
                return begun  # nothing new; a step that was named stays the one to be answered for
            # what a host says is better to know than that it had been silent
            return (*begun, Outcome(replace(latest, reason=reason), "unknown", reason))
        return (*begun, _trouble(latest, "unknown", reason, report.step, now))
    if report.kind == "refused":
        reason = f"{host} refused: {report.text}"
        if record.state == "claimed":
            return (_trouble(record, "failed", reason, "", now),)
        return (_trouble(record, "unknown", reason, "", now),) if record.state == "running" else ()
    if report.kind == "unreachable" and record.state in ("claimed", "running") and silent > patience.seconds:
        what = f"has not come back from its reboot for {silent:.0f} s" if patience.reboots else "cannot be reached"
        reason = f"{host} {what}: {report.text}"
        return (_trouble(record, "unknown", reason, "", now),)
    return ()


def _begun(record: ActionRecord, now: float, text: str) -> tuple[Outcome, ...]:
    """The step to ``running`` where the acceptance was lost on its way."""
    return _at_work(record, now, text) if record.state == "claimed" else ()


def _last(done: tuple[Outcome, ...], record: ActionRecord) -> ActionRecord:
    return done[-1].record if done else record


def _at_work(record: ActionRecord, now: float, text: str) -> tuple[Outcome, ...]:
    if record.state == "claimed":
        started = record.started or now
        return (Outcome(replace(record, state="running", started=started, reason=""), "started", text),)
    if record.state == "unknown" and not record.step:
        # only silence is lifted by a sign of life: one that names a step was told by the host itself, and a report
        # that was sent before that may come after it
        return (Outcome(replace(record, state="running", reason=""), "started", f"{text}: at work after all"),)
    return ()


def _finished(work: Pass, record: ActionRecord, report: Report, now: float) -> tuple[Outcome, ...]:
    begun = _begun(record, now, f"{report.host} took the ticket")
    latest = _last(begun, record)
    spent = latest.duration + report.duration
    if record.leg + 1 < len(work.legs):
        step_on = replace(latest, state="running", leg=record.leg + 1, duration=spent, reason="", step="")
        text = f"leg {record.leg + 1} of {len(work.legs)} finished on {report.host}"
        return (*begun, Outcome(step_on, "leg-done", text))
    ended = replace(latest, leg=len(work.legs), finished=now, duration=spent, reason="", step="", stuck=False)
    took = f"{report.host} finished its work in {spent:.1f} s"
    if work.rolling and not work.midway:
        return (*begun, Outcome(replace(ended, state="soaking"), "work-done", took))
    return (*begun, Outcome(replace(ended, state="done", ended=now), "done", took))


def _trouble(record: ActionRecord, kind: EventKind, reason: str, step: str, now: float) -> Outcome:
    state = "failed" if kind == "failed" else "unknown"
    return Outcome(replace(record, state=state, reason=reason, step=step, ended=now), kind, reason)
