"""Persistent resources: what to do with them at a sanity run, and after which step one began to fail. Pure.

The protocol is Grenade's (its ``PLUGINS.rst``): ``early_create`` and ``create`` make a resource, ``verify`` asks for
it through the APIs, ``verify_noapi`` without them, ``destroy`` removes it; each must be able to run again. The three
cases are Spinal Stack's sanity run (SEMANTICS A28).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from underway.core.model.check import Look, Moment, ResourceRecord
from underway.core.model.sample import Attribution
from underway.core.rows import StepRow

Verb = Literal["early_create", "create", "verify", "verify_noapi", "destroy"]
Side = Literal["pre-upgrade", "during-upgrade", "post-upgrade"]
Sanity = Literal["first", "same", "upgraded"]

VERBS: dict[Sanity, tuple[tuple[Verb, Side], ...]] = {
    "first": (("early_create", "pre-upgrade"), ("create", "pre-upgrade"), ("verify", "pre-upgrade")),
    "same": (("verify_noapi", "pre-upgrade"), ("verify", "pre-upgrade")),
    "upgraded": (("verify_noapi", "post-upgrade"), ("verify", "post-upgrade"), ("destroy", "post-upgrade")),
}
"""What is run, in order; the first that fails ends it, so that nothing is destroyed that was not found."""

DURING: tuple[tuple[Verb, Side], ...] = (("verify_noapi", "during-upgrade"), ("verify", "during-upgrade"))


def case_of(record: ResourceRecord | None, release: str) -> Sanity:
    """Which of the three cases a sanity run is; a resource that was destroyed begins anew."""
    if record is None or not record.present:
        return "first"
    return "same" if record.release == release else "upgraded"


def cases_at(
    moment: Moment, record: ResourceRecord | None, release: str, *, upgraded: bool = False
) -> tuple[Sanity, ...]:
    """The cases to be run before or after an upgrade, one after the other while they go well.

    Before: what an earlier upgrade has left (nobody looked since) is looked for, removed and made anew, so that
    there is something for the next one to outlive. After: none where nothing of the resource was there from before, be
    it that none is there, or (``upgraded``: the run that is over led to ``release``) that it was made after it.
    """
    case = case_of(record, release)
    if moment == "before":
        return ("upgraded", "first") if case == "upgraded" else (case,)
    return (case,) if case == "upgraded" or (case == "same" and not upgraded) else ()


@dataclass(frozen=True, slots=True)
class Broken:
    """A resource that was found whole and then was not.

    ``seen`` and ``found``: when the last look began at which it was whole, and the first ended at which it was not
    (``seen`` is None where it never was). ``steps``: what ended, or was at work, between the two.
    """

    id: str
    text: str
    seen: float | None
    found: float
    attribution: Attribution
    steps: tuple[StepRow, ...]


def broken(looks: Sequence[Look], steps: Iterable[StepRow]) -> tuple[Broken, ...]:
    """Each resource that began to fail, with the step after which it did.

    Steps that ended between the two looks come first: a resource that one of them broke is found by the next look.
    Where none did, those that were at work. One step: caused; several: shared, all are named; none: unattributed.
    """
    rows = list(steps)
    found: list[Broken] = []
    before: Look | None = None
    for look in sorted(looks, key=lambda one: one.start):
        for id_, text in look.failed.items():
            if before is None or id_ not in before.failed:
                found.append(_tie(id_, text, before.start if before is not None else None, look, rows))
        before = look
    return tuple(found)


def _tie(id_: str, text: str, seen: float | None, look: Look, steps: Sequence[StepRow]) -> Broken:
    if seen is None:
        return Broken(id_, text, None, look.end, "unattributed", ())
    ended = [row for row in steps if row.end is not None and seen < row.end <= look.end and row.outcome != "skipped"]
    at_work = [row for row in steps if row.start < look.end and (row.end is None or row.end > seen)]
    suspects = ended or at_work
    attribution: Attribution = "caused" if len(suspects) == 1 else "shared" if suspects else "unattributed"
    return Broken(id_, text, seen, look.end, attribution, tuple(suspects))
