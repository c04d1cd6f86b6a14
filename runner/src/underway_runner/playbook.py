"""What the signed plan and the playbook say of a leg: tags, handlers, sections. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

Task = Mapping[str, Any]


def step_slug(step: str) -> str:
    """The tag of a step, without ``step_``."""
    return step.replace(".", "_")


def handler_slug(name: str) -> str:
    """The tag of a handler, without ``raise_``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _load(data: bytes) -> Any:
    """A playbook, read for its structure: ``!unsafe`` and ``!vault`` values come as plain text, never used here."""
    import yaml  # noqa: PLC0415  a host whose Ansible works from elsewhere needs none

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def plain(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("!", plain)
    return yaml.load(data, Loader=Loader)  # a safe loader with tags read as text


class Book:
    """The structure of a playbook's one play: its handlers, and what each step's tasks may notify.

    ``by_slug``: what may be notified, by the slug of the step.
    """

    def __init__(self, data: bytes) -> None:
        plays = _load(data) if data else None
        play: Mapping[str, Any] = plays[0] if isinstance(plays, list) and plays else {}
        self.handlers: List[Task] = list(play.get("handlers") or ())
        self.by_slug: Dict[str, List[str]] = {}
        for task in play.get("tasks") or ():
            tags = task.get("tags") or ()
            for tag in [tags] if isinstance(tags, str) else tags:
                if str(tag).startswith("step_"):
                    self.by_slug[str(tag)[5:]] = notified_by([task])

    @classmethod
    def of(cls, handlers: Iterable[Task], by_slug: Mapping[str, Sequence[str]]) -> "Book":
        """The structure from what :meth:`plain` gave."""
        book = cls(b"")
        book.handlers = [dict(handler) for handler in handlers]
        book.by_slug = {slug: [str(name) for name in names] for slug, names in by_slug.items()}
        return book

    def plain(self) -> Dict[str, Any]:
        """As much of it as the runner asks for, as JSON."""
        handlers = [{key: handler[key] for key in ("name", "listen") if key in handler} for handler in self.handlers]
        return {"handlers": handlers, "notified": self.by_slug}

    def notified(self, step: str) -> List[str]:
        """What the tasks of a step may notify."""
        return self.by_slug.get(step_slug(step), [])


def raise_tags(playbook: bytes) -> Set[str]:
    """The ``raise_`` tags that stand in the playbook."""
    return {found.decode("ascii") for found in re.findall(rb"\braise_[a-z0-9_]+", playbook)}


def check_tags(playbook: bytes) -> Set[str]:
    """The ``check_`` tags that stand in the playbook."""
    return {found.decode("ascii") for found in re.findall(rb"\bcheck_[A-Za-z0-9_-]+", playbook)}


def notified_by(tasks: Iterable[Task]) -> List[str]:
    """What the tasks (and those of their blocks) may notify, in order."""
    found: List[str] = []
    for task in tasks:
        notify = task.get("notify") or []
        for name in [notify] if isinstance(notify, str) else notify:
            if str(name) not in found:
                found.append(str(name))
        for part in ("block", "rescue", "always"):
            found += [name for name in notified_by(task.get(part) or ()) if name not in found]
    return found


def handlers_of(names: Sequence[str], handlers: Iterable[Task], known: Set[str]) -> List[str]:
    """The handlers that these notifications mean: by name, or by a topic that they listen to.

    ``known`` are the playbook's ``raise_`` tags. A notification that is a template can mean any: then all.
    """
    found: List[str] = []

    def add(name: str) -> None:
        if f"raise_{handler_slug(name)}" in known and name not in found:
            found.append(name)

    everybody = list(handlers)
    for name in names:
        add(name)
        for handler in everybody:
            listens = handler.get("listen") or []
            topics = [listens] if isinstance(listens, str) else listens
            if "{{" in name or name in topics or name == handler.get("name"):
                add(str(handler.get("name", "")))
    return found


def gathered_again(steps: Sequence[str], specs: Mapping[str, Mapping[str, Any]], done: Set[str]) -> Set[str]:
    """Finished steps that run once more in a resumed pass: those that only gather, where what is left may use it."""
    last = max((index for index, step in enumerate(steps) if step not in done), default=-1)
    return {step for step in steps[: last + 1] if step in done and specs[step].get("gathers")}


def flushes_behind(steps: Sequence[str], specs: Mapping[str, Mapping[str, Any]], begun: Set[str]) -> List[str]:
    """Tags of the flushes that a resumed pass skips: of sections that ended before the last step that has begun."""
    last = max((index for index, step in enumerate(steps) if step in begun), default=-1)
    ends: Dict[str, int] = {}
    for index, step in enumerate(steps):
        section = f"flush_{specs[step]['service']}_{specs[step]['phase']}".replace(".", "_")
        ends[section] = index
    return [section for section, index in ends.items() if index < last]
