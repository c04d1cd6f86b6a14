"""Changes that follow from an operator's word on a host's machine: another stands there, nobody does, one does again.

Pure: what is refused, and what is done again or given up, is worked out in ``core.replacement`` and ``core.dropping``.
"""

from __future__ import annotations

from collections.abc import Callable

from underway.core.dropping import Dropping
from underway.core.model.base import replace
from underway.core.model.event import Event, EventKind
from underway.core.model.plan import Plan
from underway.core.model.state import ActionRecord, HostRecord, Machine
from underway.core.replacement import Replacement, worked_since
from underway.core.words import some
from underway.records.change import Change
from underway.records.seen import Seen

Tell = Callable[[EventKind, str, str], Event]
"""(kind, text, host) -> the event of the operator who speaks."""


def stands_in(plan: Plan, seen: Seen, host: str, word: Machine) -> Machine:
    """The machine that a word is about: ``word``, numbered, or that of the last word if it did nothing since."""
    known = seen.machines.get(host)
    if known is None:
        return word
    if known.gone:  # its number was kept free for whoever comes next
        return replace(word, number=known.number)
    if known.run == word.run and not worked_since(plan, seen, known):
        return known
    return replace(word, number=known.number + 1)


def replaced(plan: Plan, seen: Seen, machine: Machine, here: Replacement, tell: Tell) -> Change:
    """Another machine stands in the host's place, and does again what the host had begun."""
    host = machine.host
    parts = [f"{', '.join(here.again) or 'nothing'} to be done again there"]
    parts += [f"{', '.join(here.stays)} done once for all stays done"] if here.stays else []
    text = f"{host} died for good, another machine stands in its place: {'; '.join(parts)}" + why(machine.reason)
    again = (
        replace(tell("again", f"to be done again on the new machine of {host}", host), action=action, token=old.token)
        for action, (old, _) in here.again.items()
    )
    moved = any(plan.pass_of(action).upgrades for action in here.again)
    release = HostRecord(release=plan.source, by_run=machine.run, at=machine.at)
    return Change(
        run=machine.run,
        events=(tell("replaced", text, host), *again),
        actions=dict(here.again),
        machines={host: machine},
        hosts={host: release} if moved else {},
        admission=seen.admission,  # nothing that this is decided on, the point of no return too, may have moved
        bump=f"replaced: {host}",
    )


def dropped(seen: Seen, word: Machine, here: Dropping, tell: Tell) -> Change | None:
    """Nobody stands in the host's place; what it had not finished is waived. None where that was said before.

    The place keeps the next number, so that whoever is enrolled there begins a journal of its own.
    """
    host, known = word.host, seen.machines.get(word.host)
    if known is not None and known.gone and not here.waived:
        return None
    number = 1 if known is None else known.number if known.gone else known.number + 1
    left = some(list(here.waived)) or "nothing, all was done"
    text = f"{host} is gone for good and leaves the counts; waived: {left}" + why(word.reason)
    actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
    for action, old in here.waived.items():
        new = replace(
            old or ActionRecord(state="pending"), state="skipped", reason=f"{host} was dropped{why(word.reason)}",
            ended=word.at, retry=False, stuck=False,
        )  # fmt: skip
        actions[action] = (old, new)
    waived = (
        replace(tell("skipped", f"{action} is waived: {host} was dropped", host), action=action) for action in actions
    )
    return Change(
        run=word.run,
        events=(tell("dropped", text, host), *waived),
        actions=actions,
        machines={host: replace(word, number=number, gone=True)},
        admission=seen.admission,  # that nothing is at work there, or needs it, must still be so
        bump=f"dropped: {host}",
    )


def enrolled(seen: Seen, host: str, tell: Tell) -> Change | None:
    """A new machine was enrolled in the place of a host that was dropped: it counts again. None where it always did."""
    known = seen.machines.get(host)
    if known is None or not known.gone:
        return None
    return Change(
        run=seen.run.id,
        events=(tell("enrolled", f"{host} counts again: a new machine was enrolled there", host),),
        machines={host: replace(known, gone=False)},
        bump=f"enrolled: {host}",
    )


def why(reason: str) -> str:
    """``: the reason``, or nothing."""
    return f": {reason}" if reason else ""
