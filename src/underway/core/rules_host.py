"""Rows of the rule table about one host alone, and the rows that say who is unavailable.

What these rows see changes only when a record of the host, its hold or its health does.
"""

from __future__ import annotations

from collections.abc import Collection

from underway.core.layout import Visit
from underway.core.model.state import BUSY, TROUBLED, ActionRecord, ActionState
from underway.core.rulebook import Contributor, HostFacts, Rule, Said, said
from underway.core.words import clean, clock, moment

TEXT = 200
"""Characters of foreign text (reasons, details) in a sentence: it must stay one line."""


def _step(record: ActionRecord) -> str:
    return f", step {clean(record.step, TEXT)}" if record.step else ""


def _because(text: str) -> str:
    return f": {clean(text, TEXT)}" if text else ""


def _waits_for_word(facts: HostFacts, state: ActionState) -> Said:
    found = facts.open_in(state)
    assert found is not None
    visit, record = found
    what = "failed in" if state == "failed" else "nobody can tell what happened in"
    return said(
        f"{what} {visit.id}{_step(record)}{_because(record.reason)} "
        f"(it keeps its slot; underway retry {facts.host}, or skip)",
        action=visit.prefix + facts.host,
        step=record.step,
    )


def is_dropped(facts: HostFacts) -> bool:
    return facts.dropped is not None


def say_dropped(facts: HostFacts) -> Said:
    assert facts.dropped is not None
    left = bool(facts.opened) or bool(facts.todo) or facts.later
    waits = f"its work here is waited for: underway drop {facts.host}" if left else "it is in no count"
    return said(
        f"dropped by {clean(facts.dropped.by, TEXT) or 'an operator'} at {moment(facts.dropped.at)}"
        f"{_because(facts.dropped.reason)} ({waits})",
        by=facts.dropped.by,
        why=facts.dropped.reason,
    )


def is_unknown(facts: HostFacts) -> bool:
    return facts.open_in("unknown") is not None


def say_unknown(facts: HostFacts) -> Said:
    return _waits_for_word(facts, "unknown")


def is_failed(facts: HostFacts) -> bool:
    return facts.open_in("failed") is not None


def say_failed(facts: HostFacts) -> Said:
    return _waits_for_word(facts, "failed")


def is_stuck(facts: HostFacts) -> bool:
    found = facts.open_in("claimed", "running")
    return found is not None and found[1].stuck


def say_stuck(facts: HostFacts) -> Said:
    found = facts.open_in("claimed", "running")
    assert found is not None
    visit, record = found
    since = clock(record.started or record.claimed)
    return said(
        f"stuck in {visit.id}{_step(record)}: at work since {since} UTC, beyond its deadline (it keeps its slot; look "
        f"at the host)",
        action=visit.prefix + facts.host,
        step=record.step,
    )


def is_soaking(facts: HostFacts) -> bool:
    return facts.open_in("soaking") is not None


def say_soaking(facts: HostFacts) -> Said:
    found = facts.open_in("soaking")
    assert found is not None
    visit, record = found
    if facts.health is None or facts.health.checked <= record.finished:
        state = "its health was not checked since"
    elif facts.health.healthy:
        state = f"healthy since {clock(max(facts.health.since, record.finished))} UTC, soaking"
    else:
        state = f"not healthy yet{_because(facts.health.detail)}"
    return said(
        f"finished the work of {visit.id} at {clock(record.finished)} UTC; {state}", action=visit.prefix + facts.host
    )


def is_at_work(facts: HostFacts) -> bool:
    return facts.open_in("claimed", "running") is not None


def say_at_work(facts: HostFacts) -> Said:
    found = facts.open_in("claimed", "running")
    assert found is not None
    visit, record = found
    text = (
        f"at work on {visit.id}{_step(record)} since {clock(record.started)} UTC"
        if record.state == "running"
        else f"granted {visit.id} at {clock(record.claimed)} UTC; the host has not taken it yet"
    )
    return said(text, action=visit.prefix + facts.host, step=record.step)


def is_held(facts: HostFacts) -> bool:
    return facts.hold is not None and (bool(facts.todo) or facts.later)


def say_held(facts: HostFacts) -> Said:
    assert facts.hold is not None
    return said(
        f"held by {clean(facts.hold.by, TEXT) or 'an operator'}{_because(facts.hold.reason)} "
        f"(underway release {facts.host})",
        by=facts.hold.by,
        why=facts.hold.reason,
    )


def is_in_another_run(facts: HostFacts) -> bool:
    return facts.elsewhere is not None and (bool(facts.todo) or facts.elsewhere.state in TROUBLED)


def say_in_another_run(facts: HostFacts) -> Said:
    assert facts.elsewhere is not None
    run, work = facts.elsewhere.run, facts.elsewhere.action.rpartition("/")[0]
    if facts.elsewhere.state in TROUBLED:
        what = "failed in" if facts.elsewhere.state == "failed" else "nobody can tell what happened in"
        text = f"{what} {work} of run {run} (it keeps its slot; underway --run {run} retry {facts.host}, or skip)"
    else:
        text = f"at work on {work} of run {run}, which shares its slots with this run; waits until that is finished"
    return said(text, run=run, action=facts.elsewhere.action)


def _unhealthy(facts: HostFacts) -> bool:
    return facts.health is not None and not facts.health.healthy


def is_unhealthy_before(facts: HostFacts) -> bool:
    return _unhealthy(facts) and not facts.retry and any(map(_wants_health, facts.todo))


def _wants_health(visit: Visit) -> bool:
    return visit.rolling and not visit.undoes and not visit.follows


def say_unhealthy_before(facts: HostFacts) -> Said:
    assert facts.health is not None
    return said(
        f"not started: unhealthy since {clock(facts.health.since)} UTC{_because(facts.health.detail)} (it uses a slot; "
        f"repair it, or underway skip {facts.host})",
        detail=facts.health.detail,
    )


def is_unhealthy_idle(facts: HostFacts) -> bool:
    return _unhealthy(facts) and not facts.todo


def say_unhealthy_idle(facts: HostFacts) -> Said:
    assert facts.health is not None
    return said(
        f"no work now, but unhealthy since {clock(facts.health.since)} UTC{_because(facts.health.detail)} (it uses a "
        f"slot until it is healthy)",
        detail=facts.health.detail,
    )


def is_waived(facts: HostFacts) -> bool:
    return not facts.todo and bool(facts.waived)


def say_waived(facts: HostFacts) -> Said:
    visit, record = facts.waived[-1]
    return said(f"{visit.id} was waived{_because(record.reason)}", action=visit.prefix + facts.host)


HOST_ROWS: tuple[Rule[HostFacts], ...] = (
    # Nobody stands there any more: whatever its records say, nothing of it is started or waited for by itself.
    Rule("dropped", "dropped", is_dropped, say_dropped),
    # What a host did, or may have done, comes first: nothing else about it matters until somebody has looked.
    Rule("unknown", "unknown", is_unknown, say_unknown),
    # A failed host waits for a word, not for a slot: it has one.
    Rule("failed", "failed", is_failed, say_failed),
    # Before at-work: the same state, but somebody should look.
    Rule("stuck", "stuck", is_stuck, say_stuck),
    Rule("soaking", "soaking", is_soaking, say_soaking),
    # A host at work is told so even when the run is paused or halted: it finishes.
    Rule("at-work", "at-work", is_at_work, say_at_work),
    # An operator's hold is never overridden (P5), so it is the reason whatever else would be.
    Rule("held", "held", is_held, say_held),
    # Two runs never do anything on one host at once; and what another run broke nobody touches before somebody looked.
    Rule("other-run", "other-run", is_in_another_run, say_in_another_run),
    # An upgrade of a sick host hides whether the upgrade broke it; the word retry overrides. A rollback is the cure.
    Rule("unhealthy-before", "host-unhealthy", is_unhealthy_before, say_unhealthy_before),
    # Upgraded and broken (D4): not this host but those after it wait for this.
    Rule("unhealthy-idle", "host-unhealthy", is_unhealthy_idle, say_unhealthy_idle),
    # Never called done: the operator decided that it is not.
    Rule("waived", "skipped", is_waived, say_waived),
)


def _rolling(facts: HostFacts, *states: ActionState) -> bool:
    return any(visit.rolling and record.state in states for visit, record in facts.opened)


def _elsewhere(facts: HostFacts, states: Collection[ActionState]) -> bool:
    return facts.elsewhere is not None and facts.elsewhere.state in states


DOWN: tuple[Contributor, ...] = (
    # The first that holds names the cause; any of them counts the host. By kind of trouble, the worst first.
    Contributor("failed", lambda facts: _rolling(facts, "failed")),  # nobody knows what still serves there
    Contributor("unknown", lambda facts: _rolling(facts, "unknown")),  # nor here; a timer does not help (P7)
    Contributor("at work", lambda facts: _rolling(facts, "claimed", "running")),  # stuck or not
    Contributor("soaking", lambda facts: _rolling(facts, "soaking")),  # back, but not yet proven
    # Several runs share one budget: what another one took is not there, whatever it does with it.
    Contributor("in trouble in another run", lambda facts: _elsewhere(facts, TROUBLED)),
    Contributor("in another run", lambda facts: _elsewhere(facts, BUSY)),
    # Another machine stands there: what the old one had proven it has to prove itself (P1, P7).
    Contributor("replaced", lambda facts: any(visit.rolling and record.again for visit, record in facts.opened)),
    Contributor("unhealthy", _unhealthy),  # for whatever reason, upgraded or not (D4)
)
