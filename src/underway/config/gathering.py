"""When steps run: their numbers; and steps that only gather, which run each time and so must change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from underway.config.crosscheck import duplicates
from underway.config.documents import StepFile
from underway.config.located import Document
from underway.config.tasks import BLOCKS
from underway.config.words import shown
from underway.errors import Problem

Loc = tuple[str | int, ...]

CHANGING = frozenset(
    {
        "apt", "apt_repository", "authorized_key", "blockinfile", "copy", "cron", "deb822_repository", "dnf", "dnf5",
        "file", "firewalld", "get_url", "git", "group", "hostname", "ini_file", "iptables", "lineinfile", "modprobe",
        "mount", "mysql_db", "mysql_user", "pacemaker_cluster", "pacemaker_resource", "package", "pip", "reboot",
        "replace", "rpm_key", "seboolean", "service", "synchronize", "sysctl", "systemd", "systemd_service", "template",
        "unarchive", "user", "yum", "yum_repository",
    }
)  # fmt: skip
"""Modules whose purpose is a change, by their last name."""


def check_numbers(doc: Document, where: Loc, step: StepFile) -> Iterator[Problem]:
    """What is wrong with the numbers of a step."""
    if step.numbers and step.number is not None:
        message = f"step {shown(step.step)} has 'number' and 'numbers'"
        yield doc.problem((*where, "numbers"), "numbers", message, "keep one of them", of="key")
    yield from duplicates(doc, (*where, "numbers"), step.numbers)


def check_gathering(doc: Document, where: Loc, step: StepFile) -> Iterator[Problem]:
    """What is wrong with a step that says ``gathers``; what a command does is its author's word."""
    if not step.gathers:
        return
    told = f"step {shown(step.step)} only gathers"
    for key, why in (("check", "it runs again each time"), ("reboot", "it must change nothing")):
        if key in step.model_fields_set and getattr(step, key):
            yield doc.problem((*where, key), "gathers", f"{told}, so {key!r} has no place in it: {why}", "leave it out")
    for index, task in enumerate(step.tasks):
        yield from _changes(doc, (*where, "tasks", index), task, told)


def _changes(doc: Document, at: Loc, task: Any, told: str) -> Iterator[Problem]:
    if not isinstance(task, dict):
        return  # has its own message
    for key in task:
        if key.rpartition(".")[2] in CHANGING:
            hint = "put the task into a step without 'gathers'"
            yield doc.problem((*at, key), "gathers", f"{told}, and {shown(key)} makes changes", hint, of="key")
        elif key == "notify":
            message = f"{told}, and a task that notifies a handler makes changes"
            yield doc.problem((*at, key), "gathers", message, "put the task into a step without 'gathers'", of="key")
        elif key in BLOCKS and isinstance(task[key], list):
            for index, inner in enumerate(task[key]):
                yield from _changes(doc, (*at, key, index), inner, told)
