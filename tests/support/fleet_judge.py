"""The judge of a fleet under faults: by what tasks did on hosts, and whether the store tells the same. Pure.

The record is a file that only tasks write, by appending a line when they begin and one when they end, whatever store,
agents and coordinators believe; its order is the order of events, whatever clocks say::

    4711.08 db1 7 convert begin 81234      uptime, host, release, step, what, process

A host is out from the first line of its pass to the end of its last step. What is judged of the store comes from its
audit, and the two must agree. Promises P1 to P11 are the README's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Word = Literal["begin", "end", "fail"]
Again = Literal["idempotent", "checked", "never"]
"""Whether an interrupted step may run again: always, where its check said that it had not happened, by an operator's
word only."""


@dataclass(frozen=True)
class Entry:
    """One line of the record."""

    at: float
    host: str
    release: str
    step: str
    what: Word
    process: str


@dataclass(frozen=True)
class Plan:
    """What was planned and signed: roles and their hosts, how many of each may be out at once, of all together, what a
    role waits for, and the steps of every host in order."""

    release: str
    roles: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, int]
    limit: int
    after: Mapping[str, tuple[str, ...]]
    steps: Mapping[str, Again]

    @property
    def hosts(self) -> dict[str, str]:
        """Host to role."""
        return {host: role for role, hosts in self.roles.items() for host in hosts}


@dataclass(frozen=True)
class Fact:
    """One entry of the store's audit, as far as it is judged."""

    seq: int
    kind: str
    host: str = ""
    token: int = 0
    text: str = ""


@dataclass
class _Host:
    """What a host did so far."""

    ended: list[str] = field(default_factory=list)
    open: dict[str, str] = field(default_factory=dict)  # process -> step that it began and did not end
    begins: Counter[str] = field(default_factory=Counter)


@dataclass
class Verdict:
    """``wrong``: violations, each beginning with its promise. ``resumed``: steps that were interrupted and begun again,
    as they may be. ``finished``: hosts whose every step ended."""

    wrong: list[str] = field(default_factory=list)
    resumed: int = 0
    repeated: int = 0
    lost: int = 0
    finished: set[str] = field(default_factory=set)


def read(text: str) -> tuple[list[Entry], list[str]]:
    """The lines of the record, and those that are none."""
    found, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != 6 or words[4] not in ("begin", "end", "fail"):
            wrong.append(f"P11: line {number} of the record is by no task of ours: {line[:100]!r}")
            continue
        at, host, release, step, what, process = words
        found.append(Entry(float(at), host, release, step, what, process))  # type: ignore[arg-type]  # looked at above
    return found, wrong


def judge(
    plan: Plan,
    entries: Sequence[Entry],
    *,
    answers: Mapping[tuple[str, str], int] | None = None,
    done: Iterable[str] = (),
    over: bool = False,
) -> Verdict:
    """What is wrong with the record of one run.

    ``answers``: how often an operator said that a step may run again, by host and step. ``done``: hosts that the store
    calls done. ``over``: the run has ended, so every step must have.
    """
    verdict = Verdict()
    states = {host: _Host() for host in plan.hosts}
    for number, entry in enumerate(entries, 1):
        where = f"line {number}, {entry.host}"
        if entry.host not in states or entry.step not in plan.steps or entry.release != plan.release:
            verdict.wrong.append(f"P11: {where}: {entry.step} of release {entry.release} ran, and no plan says so")
            continue
        state = states[entry.host]
        if entry.what == "begin":
            told = list(_begins(plan, states, entry, (answers or {}).get((entry.host, entry.step), 0)))
            verdict.repeated += sum(text.startswith("P3: finished") or "runs again" in text for text in told)
            verdict.wrong += [f"{text} ({where})" for text in told]
            verdict.resumed += state.begins[entry.step] > 0
            state.begins[entry.step] += 1
            state.open[entry.process] = entry.step
        elif state.open.get(entry.process) != entry.step:
            verdict.wrong.append(f"P3: {entry.step} ended after another attempt of it had begun ({where})")
        else:
            # attempts before this one were interrupted: one that ends after all was at work beside it
            state.open.clear()
            if entry.what == "end":
                state.ended.append(entry.step)
    verdict.finished = {host for host, state in states.items() if set(plan.steps) <= set(state.ended)}
    for host in sorted(set(done) - verdict.finished):
        verdict.wrong.append(f"P3: the store calls {host} done, and it did only {states[host].ended}")
    if over:
        for host in sorted(set(states) - verdict.finished):
            missing = [step for step in plan.steps if step not in states[host].ended]
            verdict.lost += len(missing)
            verdict.wrong.append(f"P3: {host} did not finish {', '.join(missing)}")
    return verdict


def _begins(plan: Plan, states: Mapping[str, _Host], entry: Entry, answers: int) -> Iterator[str]:
    """What is wrong with the begin of a step, at this moment."""
    state, role = states[entry.host], plan.hosts[entry.host]
    if not state.begins:
        out = {host for host, one in states.items() if one.begins and not set(plan.steps) <= set(one.ended)}
        of_role = len(out & set(plan.roles[role])) + 1
        if of_role > plan.limits[role]:
            yield f"P1: {of_role} hosts of {role} are out, the limit is {plan.limits[role]}: {sorted(out)} and"
        if len(out) + 1 > plan.limit:
            yield f"P1: {len(out) + 1} hosts are out, the limit is {plan.limit}: {sorted(out)} and"
        for before in plan.after.get(role, ()):
            late = [host for host in plan.roles[before] if not set(plan.steps) <= set(states[host].ended)]
            if late:
                yield f"P2: {role} began before {', '.join(late)} of {before} had finished"
    order = list(plan.steps)
    if entry.step in state.ended:
        yield f"P3: finished step {entry.step} began again"
    elif missing := [step for step in order[: order.index(entry.step)] if step not in state.ended]:
        yield f"P3: {entry.step} began before {', '.join(missing)}"
    elif plan.steps[entry.step] == "never" and state.begins[entry.step] > answers:
        yield f"P3: {entry.step} runs again, and no operator said that it may"


def judge_audit(
    facts: Sequence[Fact], *, hosts: Iterable[str], budget: int, over: bool, said: Iterable[str]
) -> list[str]:
    """What is wrong with the audit of one run: P4 (tokens), P5 (holds, pauses), P6 (the budget), and whether every word
    of an operator that was acknowledged (``said``: their reasons) is there."""
    wrong: list[str] = []
    held: set[str] = set()
    trouble: set[str] = set()
    paused = False
    token = 0
    claimed: Counter[str] = Counter()
    for fact in facts:
        if fact.kind == "claimed":
            claimed[fact.host] += 1
            if fact.token <= token:
                wrong.append(f"P4: entry {fact.seq}: {fact.host} was let in with token {fact.token} after {token}")
            if fact.host in held:
                wrong.append(f"P5: entry {fact.seq}: {fact.host} was let in while it was held")
            if paused:
                wrong.append(f"P5: entry {fact.seq}: {fact.host} was let in while the run was paused")
            if len(trouble) >= budget:
                wrong.append(f"P6: entry {fact.seq}: {fact.host} was let in after {', '.join(sorted(trouble))} failed")
            token = max(token, fact.token)
        elif fact.kind == "hold":
            held.add(fact.host)
        elif fact.kind == "release":
            held.discard(fact.host)
        elif fact.kind in ("run-paused", "run-resumed"):
            paused = fact.kind == "run-paused"
        elif fact.kind in ("failed", "unknown"):
            trouble.add(fact.host)
        elif fact.kind in ("retry", "started", "work-done", "done", "skipped"):
            trouble.discard(fact.host)
    texts = [fact.text for fact in facts]
    lost = [reason for reason in said if not any(reason in text for text in texts)]
    wrong += [f"I7: an operator's word was acknowledged and is not in the audit: {reason}" for reason in lost]
    if over:
        ended = {fact.host for fact in facts if fact.kind == "done"}
        names = sorted(hosts)
        wrong += [f"the run is done, and the audit does not say that {one} is" for one in names if one not in ended]
        wrong += [
            f"P4: {one} did its work, and the audit does not say that it was let in"
            for one in names
            if one not in claimed
        ]
    return wrong
