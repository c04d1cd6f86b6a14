"""From puppet classes to snippets: the map of a release, and what it makes of a profile. Pure (A1, A2, A17)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from underway.config.located import Document
from underway.config.words import nearest, one_of, shown
from underway.errors import Problem
from underway.importers.spinalstack.scenario import Profile
from underway.importers.spinalstack.snippets import TAGS, Snippet


@dataclass(frozen=True, slots=True)
class Order:
    """Snippets of a profile, the base snippet apart.

    ``in_order``: by step, class and snippet, as the original ran them. ``once``: each once, where it came first.
    """

    profile: str
    classes: int
    without: tuple[str, ...]
    in_order: tuple[str, ...]

    @property
    def once(self) -> tuple[str, ...]:
        """The snippets that are run: one that several classes name restarted its service again and again."""
        return tuple(dict.fromkeys(self.in_order))


def class_map(document: Document, there: Collection[str]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """Puppet class -> its snippets. ``there``: names of the snippets that have a file."""
    found: dict[str, tuple[str, ...]] = {}
    problems = list(document.problems)
    for name, body in document.value.items():
        if not isinstance(body, dict):
            message = f"expected 'snippet' with a list, found {shown(body)}"
            problems.append(document.problem((name,), "type", message, "for example: {snippet: [nova-api]}"))
            continue
        for key in body:
            if key != "snippet":
                hint = nearest(key, ["snippet"]) or "a class has 'snippet' only"
                problems.append(
                    document.problem((name, key), "unknown-key", f"unknown key {shown(key)}", hint, of="key")
                )
        listed = body.get("snippet", [])
        if not isinstance(listed, list):
            message = f"expected a list of snippets, found {shown(listed)}"
            problems.append(document.problem((name, "snippet"), "type", message, "for example: [nova-api]"))
            continue
        problems += _missing(document, name, listed, there)
        found[name] = tuple(one for one in listed if isinstance(one, str))
    return found, problems


def _missing(document: Document, name: str, listed: list[object], there: Collection[str]) -> Iterator[Problem]:
    for index, one in enumerate(listed):
        loc = (name, "snippet", index)
        if not isinstance(one, str):
            yield document.problem(loc, "type", f"expected the name of a snippet, found {shown(one)}")
        elif one not in there:
            hint = one_of(one, sorted(there), "snippets")
            yield document.problem(loc, "unknown-snippet", f"there is no file for snippet {shown(one)}", hint)


def order(profile: Profile, snippets_of: Mapping[str, tuple[str, ...]]) -> Order:
    """What the map makes of a profile."""
    classes = [name for _, name in profile.classes]
    return Order(
        profile=profile.name,
        classes=len(classes),
        without=tuple(dict.fromkeys(name for name in classes if name not in snippets_of)),
        in_order=tuple(one for name in classes for one in snippets_of.get(name, ())),
    )


def per_tag(names: Collection[str], snippets: Mapping[str, Snippet]) -> list[int]:
    """How many tasks of these snippets each tag from 1 to 9 selects."""
    counts = [0] * len(TAGS)
    for name in names:
        for task in snippets[name].tasks:
            for tag in task.tags:
                counts[tag - 1] += 1
    return counts
