"""Handlers of several services in one play.

Ansible knows handlers by name over the whole play, so two services that both call theirs ``Restart api`` would notify
the wrong one. Where a name (or a ``listen`` topic) is used by more than one service of a playbook, it becomes
``Restart api (nova)``, and that service's ``notify`` follows. A handler that several services have word for word is one
handler: what they both restart is restarted once, after the last of them, as far as nothing needs it before. Names
are unique as slugs too, because a resumed pass raises a handler by the tag made of its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from underway.core.model.service import Step, Task
from underway.core.numbered import meaning
from underway.errors import InputError
from underway.render.names import raise_tag, slug

_BLOCKS = ("block", "rescue", "always")


@dataclass(frozen=True, slots=True)
class Handlers:
    """Handlers of a playbook, ready to be written: (service, name, task) in order, per service old -> new names, and
    the new names of all that it has, also those that it shares."""

    tasks: tuple[tuple[str, str, Task], ...] = ()
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    used: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, service: str) -> bool:
        """Whether the service has handlers."""
        return bool(self.used.get(service))

    def shares(self, one: str, other: str) -> bool:
        """Whether two services have a handler in common."""
        return bool(self.used.get(one, frozenset()) & self.used.get(other, frozenset()))

    def known(self) -> set[str]:
        """Every name and topic that may be notified."""
        return {word for _, _, task in self.tasks for word in (task["name"], *_listed(task.get("listen")))}


def collect(
    services: Sequence[str], handlers: Mapping[str, Sequence[Task]], defaults: Mapping[str, Mapping[str, Any]]
) -> Handlers:
    """The handlers of ``services``, names made unique; ``defaults``: their variables.

    Raises ``InputError`` for one that cannot be notified: no name and no topic, a name that is a template, one name
    twice in a service.
    """
    shared = _shared(services, handlers, defaults)
    words: Counter[str] = Counter()
    for service in services:
        own_words = _words(service, handlers.get(service, ()))
        words.update(word for word in own_words if (service, word) not in shared)
    used: dict[str, frozenset[str]] = {}
    renamed: dict[str, dict[str, str]] = {}
    found: list[tuple[str, str, Task]] = []
    tags: set[str] = set()
    for service in services:
        own = renamed.setdefault(service, {})
        for word in sorted(_words(service, handlers.get(service, ()))):
            own[word] = f"{word} ({service})" if words[word] > 1 else word
        names: set[str] = set()
        for task in handlers.get(service, ()):
            first = shared.get((service, task.get("name", "")))
            if first is not None:
                own[task["name"]] = renamed[first][task["name"]]
                names.add(own[task["name"]])
                continue
            topics = [own[topic] for topic in _listed(task.get("listen"))]
            name = own[task["name"]] if "name" in task else f"Handle {topics[0]}"
            number, unique = 1, name
            while raise_tag(unique) in tags or not slug(unique):
                number += 1
                unique = f"{name} {number}"
            tags.add(raise_tag(unique))
            names.add(unique)
            if "name" in task:
                own[task["name"]] = unique
            found.append((service, unique, {**task, "name": unique, **({"listen": topics} if topics else {})}))
        used[service] = frozenset(names)
    renewed = tuple((service, name, rewrite(task, renamed[service])) for service, name, task in found)
    return Handlers(renewed, renamed, used)


def _shared(
    services: Sequence[str], handlers: Mapping[str, Sequence[Task]], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """(service, name of a handler) -> the first service that has the very same, of those that are not the first.

    One with topics, or one that notifies others, is its service's own: who hears what would change.
    """
    first: dict[bytes, str] = {}
    found: dict[tuple[str, str], str] = {}
    for service in services:
        for task in handlers.get(service, ()):
            if "name" not in task or "listen" in task or "notify" in task:
                continue
            owner = first.setdefault(meaning(task, defaults.get(service, {})), service)
            if owner != service:
                found[service, task["name"]] = owner
    return found


def rewrite(task: Task, renamed: Mapping[str, str]) -> Task:
    """The task with its ``notify``, also of tasks inside blocks, following ``renamed``; all else untouched."""
    changes: dict[str, Any] = {}
    if "notify" in task:
        words = [renamed.get(word, word) for word in _listed(task["notify"])]
        changes["notify"] = words[0] if isinstance(task["notify"], str) else words
    for section in _BLOCKS:
        if isinstance(task.get(section), (list, tuple)):
            changes[section] = [rewrite(inner, renamed) for inner in task[section]]
    return {**task, **changes} if changes else task


def check_notified(step: Step, task: Task, handlers: Handlers) -> bool:
    """Whether the (rewritten) task notifies anything. Raises ``InputError`` if that is no handler of the playbook."""
    known = handlers.known()
    any_ = False
    for word in _listed(task.get("notify")):
        any_ = True
        if "{{" not in word and word not in known:
            raise InputError(
                f"service {step.service}, phase {step.phase}, step {step.name!r}: notifies {word!r}, which is no "
                f"handler of the services that run with it (known: {', '.join(sorted(known)) or 'none'})"
            )
    for section in _BLOCKS:
        for inner in task.get(section) or ():
            any_ = check_notified(step, inner, handlers) or any_
    return any_


def _words(service: str, tasks: Sequence[Task]) -> set[str]:
    words: set[str] = set()
    for task in tasks:
        name, topics = task.get("name"), _listed(task.get("listen"))
        if name is None and not topics:
            raise InputError(f"service {service}: a handler has no name, so that nothing can notify it")
        for text in (name or "", *topics):
            if "{{" in text:
                raise InputError(f"service {service}: the name of handler {text!r} is a template; it must be known now")
        if name is not None:
            if name in words:
                raise InputError(f"service {service}: two handlers are called {name!r}")
            words.add(name)
    return words.union(*(_listed(task.get("listen")) for task in tasks))


def _listed(value: Any) -> tuple[str, ...]:
    """A keyword that takes one text or a list of them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
