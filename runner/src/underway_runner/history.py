"""What the journal says of one leg of an action: pure, from lines to facts.

A step is finished by an ``end`` with rc 0 or a ``skip``, whatever the token. ``begin`` without ``end`` is open:
interrupted, and nobody but the step's own check, its declared idempotence or the operator can say more. A rollback
that finished makes the upgrade's steps undone again, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set

Line = Mapping[str, Any]

TERMINAL = ("leg-end", "unknown", "cancelled")


@dataclass
class History:
    """``done``: finished steps; ``open``: step to its ``begin`` line; ``failed``: step to its ``end`` line.

    ``pending``: handlers that were notified and have not run, in order. ``again``: steps that may have done part
    of their work, whose notifications may be lost. ``cut``: uptime before which every process that this leg
    started belongs to something finished. ``tokens``: accepted token to the digest of its ticket.
    """

    done: Set[str] = field(default_factory=set)
    open: Dict[str, Line] = field(default_factory=dict)
    failed: Dict[str, Line] = field(default_factory=dict)
    pending: List[str] = field(default_factory=list)
    again: Set[str] = field(default_factory=set)
    cut: float = 0.0
    finished: bool = False
    tokens: Dict[int, str] = field(default_factory=dict)


def fold(lines: Iterable[Line], run: str, action: str, leg: int, voided: int = 0) -> History:
    """The history of one leg of a run's action; what was done under a token up to ``voided`` does not count.

    The machine that the action is about was replaced then: a balancer, say, has to drain the new one as well.
    """
    history = History()
    for line in lines:
        if line.get("run", "") != run or line.get("action", "") != action or line.get("leg", 0) != leg:
            continue
        if voided and line.get("token", 0) <= voided:
            continue
        if line["kind"] == "accepted":
            said = words(str(line.get("text", "")))
            history.tokens[int(line.get("token", 0))] = said.get("ticket", "")
        _apply(history, line)
    return history


def _apply(history: History, line: Line) -> None:
    kind, step = line["kind"], str(line.get("step", ""))
    if kind == "begin":
        history.open[step] = line
        history.failed.pop(step, None)
        history.again.discard(step)
        history.finished = False
    elif kind == "end":
        history.cut = float(line["mono"])
        history.open.pop(step, None)
        history.again.discard(step)
        if line.get("rc", 0):
            history.failed[step] = line
        else:
            history.done.add(step)
    elif kind == "skip":
        history.open.pop(step, None)
        history.failed.pop(step, None)
        history.done.add(step)
    elif kind == "resumed":
        history.open.pop(step, None)
        history.again.add(step)
    elif kind == "notify":
        name = str(line.get("task", ""))
        if name not in history.pending:
            history.pending.append(name)
    elif kind == "handler":
        history.cut = float(line["mono"])
        if not line.get("rc", 0) and line.get("task") in history.pending:
            history.pending.remove(str(line["task"]))
    elif kind == "accepted":
        history.finished = False
    elif kind == "leg-end":
        history.finished = not line.get("rc", 0)


def outcome(lines: Iterable[Line], run: str, action: str, leg: int, token: int) -> Optional[Line]:
    """The line that ended the leg under this token; None while it has not ended."""
    found: Optional[Line] = None
    for line in lines:
        if (
            line["kind"] in TERMINAL
            and line.get("token", 0) == token
            and line.get("run", "") == run
            and line.get("action", "") == action
            and line.get("leg", 0) == leg
        ):
            found = line
    return found


def words(text: str) -> Dict[str, str]:
    """``"ticket=ab mode=upgrade"`` as a map; the text of an ``accepted`` line."""
    return dict(part.split("=", 1) for part in text.split() if "=" in part)
