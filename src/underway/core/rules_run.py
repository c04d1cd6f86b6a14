"""Rows of the rule table about the run, its stages and its passes: each answer serves all hosts of its subject."""

from __future__ import annotations

from underway.core.layout import Visit
from underway.core.model.plan import Edge
from underway.core.rulebook import IdleCase, Look, PassCase, Rule, Said, said
from underway.core.words import clean, duration, moment, plural, some

# --- the run: all hosts that are not at work -------------------------------------------------------------------------


def is_aborted(look: Look) -> bool:
    return look.run.state == "aborted"


def say_aborted(look: Look) -> Said:
    return said(f"the run was aborted{_by(look)}")


def is_over(look: Look) -> bool:
    return look.run.state == "done"


def say_over(look: Look) -> Said:  # noqa: ARG001  rows of a section have one shape
    return said("the run is done; this was left out of it")


def is_paused(look: Look) -> bool:
    return look.run.state == "paused"


def say_paused(look: Look) -> Said:
    return said(f"the run is paused{_by(look)} (underway resume)")


def _by(look: Look) -> str:
    by = f" by {clean(look.run.by, 100)}" if look.run.by else ""
    return by + (f": {clean(look.run.reason, 200)}" if look.run.reason else "")


def budget_used(look: Look) -> bool:
    return len(look.troubled) >= max(1, look.policy.failure_budget)


def say_budget_used(look: Look) -> Said:
    order = look.layout.order
    names = sorted(look.troubled, key=lambda host: order.get(host, len(order)))
    listed = some([f"{name} {look.troubled[name]}" for name in names])
    budget = max(1, look.policy.failure_budget)
    return said(
        f"halted: {plural(len(names), 'host')} in trouble ({listed}), the failure budget is {budget} "
        f"(underway retry, or skip)",
        hosts=len(names),
        budget=budget,
    )


def _spent(look: Look) -> list[str]:
    return sorted(
        service for service, most in look.policy.outage_budget.items() if look.outage.get(service, 0.0) > most
    )


def outage_spent(look: Look) -> bool:
    return bool(_spent(look))


def say_outage_spent(look: Look) -> Said:
    budgets = look.policy.outage_budget
    parts = [
        f"{name} was down for {duration(look.outage.get(name, 0.0))} of {duration(budgets[name])} allowed"
        for name in _spent(look)
    ]
    return said(f"halted: {', '.join(parts)} (raise the budget to go on)", services=", ".join(_spent(look)))


def all_held(look: Look) -> bool:
    return look.hold_all is not None


def say_all_held(look: Look) -> Said:
    assert look.hold_all is not None
    why = f": {clean(look.hold_all.reason, 200)}" if look.hold_all.reason else ""
    return said(f"all hosts are held by {clean(look.hold_all.by, 100) or 'an operator'}{why} (underway release '*')")


RUN_ROWS: tuple[Rule[Look], ...] = (
    # An operator's word about the run comes before everything that the program found out.
    Rule("aborted", "aborted", is_aborted, say_aborted),
    Rule("run-done", "run-done", is_over, say_over),
    Rule("paused", "paused", is_paused, say_paused),
    # A bad release must not roll through the fleet (D4): the default budget is one host.
    Rule("halted-failures", "halted-failures", budget_used, say_budget_used),
    # What the users see counts as much as what the hosts say.
    Rule("halted-outage", "halted-outage", outage_spent, say_outage_spent),
    # A hold on `*` is a hold on each.
    Rule("all-held", "held", all_held, say_all_held),
)

# --- hosts without work in the present stage -------------------------------------------------------------------------


def nothing_left(case: IdleCase) -> bool:
    return case.next < 0


def say_nothing_left(case: IdleCase) -> Said:  # noqa: ARG001  rows of a section have one shape
    return said("done")


def always(case: IdleCase) -> bool:  # noqa: ARG001  the last row of its section
    return True


def say_stage_waits(case: IdleCase) -> Said:
    look = case.look
    present, then = look.present, look.layout.stages[case.next]
    left = look.left(look.stage)
    return said(
        f"waits for stage {then.name}: {plural(left, 'action')} of stage {present.name} not finished",
        stage=then.name,
        present=present.name,
        left=left,
    )


IDLE_ROWS: tuple[Rule[IdleCase], ...] = (
    Rule("done", "done", nothing_left, say_nothing_left),
    # The barrier (P2): a stage begins when the one before is finished on every host, also on silent and held ones.
    Rule("stage-waits", "stage-waits", always, say_stage_waits),
)

# --- a pass of the present stage -------------------------------------------------------------------------------------


def approval_missing(case: PassCase) -> bool:
    look, stage = case.look, case.look.present
    return (stage.approval or stage.kind in look.policy.approvals) and stage.kind not in look.approvals


def say_approval_missing(case: PassCase) -> Said:
    stage = case.look.present
    note = ", the point of no return" if stage.point_of_no_return else ""
    verb = "finalize" if stage.kind == "finalize" else f"approve {stage.kind}"
    return said(f"stage {stage.kind}{note}, waits for an approval (underway {verb})", stage=stage.kind)


def _closed_edge(case: PassCase) -> tuple[Edge, Visit | None] | None:
    look = case.look
    for edge in case.visit.after:
        before = look.layout.visits.get(edge.before)
        if before is None or look.unfinished[before] or before in look.unproven:
            return edge, before
    return None


def order_open(case: PassCase) -> bool:
    return _closed_edge(case) is not None


def say_order(case: PassCase) -> Said:
    found = _closed_edge(case)
    assert found is not None
    edge, before = found
    because = f" ({clean(edge.reason, 200)})" if edge.reason else ""
    if before is None:
        return said(f"ordered after {edge.before}, which the plan does not have: make a new plan", before=edge.before)
    left = case.look.unfinished[before]
    if left:
        state = f"{left} of {plural(len(before.members), 'host')} not done"
    else:
        state = f"{_names(case.look, before)} fell ill after it (repair, or underway skip)"
    return said(f"waits for {before.id}: {state}{because}", before=before.id, left=left)


def _names(look: Look, visit: Visit) -> str:
    return some(sorted(look.unproven[visit], key=lambda host: look.layout.order[host]))


def _sick_before(case: PassCase) -> Visit | None:
    if not case.visit.rolling:
        return None
    sick = [visit for visit in case.look.unproven if visit.stage < case.visit.stage]
    return min(sick, key=lambda visit: visit.index, default=None)


def earlier_unhealthy(case: PassCase) -> bool:
    return _sick_before(case) is not None


def say_earlier_unhealthy(case: PassCase) -> Said:
    before = _sick_before(case)
    assert before is not None
    return said(
        f"waits for {before.id}: {_names(case.look, before)} fell ill after it (repair, or underway skip)",
        before=before.id,
    )


HOUR = 3600.0
"""A clock change makes a window of one week so much longer or shorter than that of the next."""


def fits_no_window(case: PassCase) -> bool:
    return case.visit.rolling and case.visit.p90 >= case.look.window.longest + HOUR


def say_fits_no_window(case: PassCase) -> Said:
    longest = case.look.window.longest
    return said(
        f"its p90 of {duration(case.visit.p90)} fits in no maintenance window: the longest is {duration(longest)} "
        f"(widen the windows)",
        p90=case.visit.p90,
        longest=longest,
    )


def window_closed(case: PassCase) -> bool:
    return case.visit.rolling and not case.look.window.open


def say_window_closed(case: PassCase) -> Said:
    opens = case.look.window.opens
    when = f"opens {moment(opens)}" if opens else "none opens in the days to come"
    return said(f"outside the maintenance windows: the next {when}", until=opens)


def window_too_short(case: PassCase) -> bool:
    return case.visit.rolling and case.look.now >= case.look.window.closes - case.visit.p90


def say_window_too_short(case: PassCase) -> Said:
    window = case.look.window
    after = f"; the next opens {moment(window.opens)}" if window.opens else ""
    return said(
        f"its p90 of {duration(case.visit.p90)} does not fit before the window closes {moment(window.closes)}{after}",
        until=window.opens,
        p90=case.visit.p90,
    )


PASS_ROWS: tuple[Rule[PassCase], ...] = (
    # Of the whole stage: an operator wants to look before it begins.
    Rule("approval", "approval-wanted", approval_missing, say_approval_missing),
    # What it needs must be done and well, on every host of the frozen inventory (P2, D2, D3).
    Rule("order", "order", order_open, say_order),
    # The same between stages: do not take more out while what everything needs is sick.
    Rule("earlier-unhealthy", "order", earlier_unhealthy, say_earlier_unhealthy),
    # It would wait for ever: say so at once, not week after week.
    Rule("fits-no-window", "window-too-short", fits_no_window, say_fits_no_window),
    # Outside a window nothing is taken out of service, and nothing that would run past its end.
    Rule("window-closed", "window-closed", window_closed, say_window_closed),
    Rule("window-too-short", "window-too-short", window_too_short, say_window_too_short),
)
