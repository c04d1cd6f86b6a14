"""What a store says that cannot be: actions that no plan has, and a past that hosts remember otherwise. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from underway.core.model.base import replace
from underway.core.model.event import Event
from underway.core.model.plan import Plan, split_action
from underway.core.words import clean
from underway.errors import RecordInvalid
from underway.records.change import Change
from underway.records.seen import Seen


def check_actions(plan: Plan, run: str, actions: Iterable[str]) -> None:
    """Raise RecordInvalid for an action that ``plan`` has not: nothing can be made of it, whoever wrote it."""
    for action in actions:
        pass_id, host = split_action(action)
        if pass_id not in plan.passes or host not in plan.hosts:
            raise RecordInvalid(
                f"runs/{run}/actions/{clean(action, 200)}: is of no action of this run's plan (Underway did not write "
                "it: delete it)"
            )


def went_back(snapshot: Seen, token: int, host: str, tell: Callable[[str, str], Event]) -> Change | None:
    """The pause of a run in which ``host`` worked under a claim that the store knows nothing of: an older copy was put
    back (TRUST.md, fault 23). The tokens that hosts know are not used again. None where all is well.

    Fenced by the admission record: the look may be an old one, and the claim known since.
    """
    if token <= snapshot.serial or snapshot.run.ended:
        return None
    text = (
        f"{host} worked under token {token}, and the store knows none above {snapshot.serial}: an older copy of the"
        " store was put back; compare what hosts did ('underway log', their journals), then 'underway resume'"
    )
    return Change(
        run=snapshot.run.id,
        events=(tell(text, host),),
        run_record=replace(snapshot.run, state="paused", reason=text) if snapshot.run.state == "running" else None,
        admission=snapshot.admission,
        bump="the store went back",
        serial=token,
    )
