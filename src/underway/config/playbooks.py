"""What operators roll out: a playbook of their own, and a policy of its own for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from underway.config.build import build_policy
from underway.config.documents import PolicyFile, Task, Vars
from underway.config.faults import examine
from underway.config.fragment import Fragment
from underway.config.located import Document
from underway.config.reading import MAX_SMALL_BYTES, read
from underway.config.tasks import check_tasks
from underway.config.words import shown_path
from underway.core.model.policy import Policy
from underway.errors import FileProblems, Problem


class PlayFile(Fragment):
    """One play. Which hosts it is for is not its own to say: ``--role`` and ``--where`` choose them."""

    name: str = Field(default="", max_length=200, description="What it does.")
    hosts: Any = Field(default=None, description="Not looked at.")
    gather_facts: bool = Field(default=False, description="Not looked at: a task gathers facts, where they are wanted.")
    vars: Vars = Field(default={}, description="Variables of the tasks.")
    tasks: list[Task] = Field(min_length=1, description="Ordinary Ansible tasks.")
    handlers: list[Task] = Field(default=[], description="Tasks that are run once after the others, where notified.")


class PlaybookFile(Fragment):
    """A list of one play."""

    plays: list[PlayFile] = Field(min_length=1, max_length=1, description="The play.")


@dataclass(frozen=True, slots=True)
class Playbook:
    """What of a playbook is done on each host."""

    name: str
    tasks: tuple[dict[str, Any], ...]
    handlers: tuple[dict[str, Any], ...]
    vars: dict[str, Any]


def load_playbook(path: Path) -> Playbook:
    """Read a playbook. Raises ``FileProblems`` with every mistake: more than one play, roles, work for other hosts."""
    doc = read(path, shown_path(path), MAX_SMALL_BYTES, root="plays")
    fragment, problems = examine(doc, PlaybookFile)
    _refuse(doc, problems)
    assert fragment is not None
    [play] = fragment.plays
    names = {task["name"] for task in play.handlers if isinstance(task.get("name"), str)}
    problems += check_tasks(doc, ("plays", 0, "tasks"), play.tasks, names)
    problems += check_tasks(doc, ("plays", 0, "handlers"), play.handlers, names)
    _refuse(doc, problems)
    return Playbook(play.name or path.stem, tuple(play.tasks), tuple(play.handlers), play.vars)


def load_policy(path: Path) -> Policy:
    """Read a file with the keys of ``policy`` of a cluster file. Raises ``FileProblems`` with every mistake."""
    doc = read(path, shown_path(path), MAX_SMALL_BYTES)
    fragment, problems = examine(doc, PolicyFile)
    _refuse(doc, problems)
    assert fragment is not None
    return build_policy(fragment)


def _refuse(doc: Document, problems: list[Problem]) -> None:
    if any(problem.severity == "error" for problem in (*doc.problems, *problems)):
        raise FileProblems([*doc.problems, *problems])
