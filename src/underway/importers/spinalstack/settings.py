"""Variables as settings with their origin, so that one file drives what the snippets read from several. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from underway.config import secrets
from underway.config.located import VAULT_KEY
from underway.config.words import listing, shown
from underway.errors import Problem
from underway.importers import jinja
from underway.importers.spinalstack.variables import OF_RELEASE, Definition, Definitions

DISTRIBUTION, DISTRIBUTIONS = "spinalstack_distribution", "spinalstack_distributions"
"""Settings where several distributions differ: which one hosts have, and what each says."""

Seal = Callable[[str], str]


@dataclass(slots=True)
class Settings:
    """``settings`` of the cluster, variables of the release (those that are templates, or change with it), comments."""

    settings: dict[str, Any] = field(default_factory=dict)
    release: dict[str, Any] = field(default_factory=dict)
    notes: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Secrets that no task reads."""


def settings(definitions: Definitions, used: dict[str, list[str]], seal: Seal | None) -> Settings:
    """All definitions, each at its place. ``seal`` encrypts a secret; without it a secret that is read is refused."""
    made = Settings()
    for name, definition in definitions.everywhere.items():
        _one(made, definitions, name, definition, used, seal)
    names = list(dict.fromkeys(name for values in definitions.distributions.values() for name in values))
    apart: list[str] = []
    for name in names:
        if name in made.settings or name in made.release:
            made.problems += _twice(definitions, name)
            continue
        stated = [values.get(name) for values in definitions.distributions.values()]
        first = next(one for one in stated if one is not None)
        if all(one is not None and one.value == first.value for one in stated):
            _one(made, definitions, name, first, used, seal)
        elif jinja.is_template(str([one.value for one in stated if one is not None])) or definitions.secret(name):
            message = f"{shown(name)} differs between distributions, and is a template or a secret"
            assert first.document is not None  # only values of files differ
            hint = "set it for each host or role, under 'vars' of cluster.yaml, and leave it out here"
            made.problems.append(first.document.problem(first.loc, "differs", message, hint))
        else:
            apart.append(name)
    if apart:
        _apart(made, definitions, apart)
    return made


def _one(
    made: Settings,
    definitions: Definitions,
    name: str,
    definition: Definition,
    used: dict[str, list[str]],
    seal: Seal | None,
) -> None:
    value = definition.value
    if definitions.secret(name) and not definition.sealed and value not in (None, ""):
        if name not in used:
            made.left_out.append(name)
            return
        if seal is None or not isinstance(value, str | int):
            _openly(made, name, definition, used[name][0])
            return
        value = {VAULT_KEY: seal(str(value))}
    elif name not in definitions.everywhere and definition.document is not None:
        made.problems += secrets.variables(definition.document, definition.loc[:-1], {name: value})
    if name in OF_RELEASE or jinja.is_template(str(value)):
        made.release[name] = value
    else:
        made.settings[name] = value
        made.notes["settings", name] = definition.origin


def _openly(made: Settings, name: str, definition: Definition, place: str) -> None:
    message = f"the secret {shown(name)}, which {place} reads, stands here openly"
    hint = "give --vault-password-file FILE to have it encrypted, or write what 'ansible-vault encrypt_string' gives"
    if definition.document is not None:
        made.problems.append(definition.document.problem(definition.loc, "inline-secret", message, hint))


def _twice(definitions: Definitions, name: str) -> list[Problem]:
    """A file of a distribution that says what ``group_vars/all`` says: the original took the file's word."""
    found = []
    for values in definitions.distributions.values():
        own = values.get(name)
        if own is not None and own.document is not None and own.value != definitions.everywhere[name].value:
            other = definitions.everywhere[name].origin
            message = f"{shown(name)} is defined here and, otherwise, by {other}"
            found.append(own.document.problem(own.loc, "defined-twice", message, "keep one of them", of="key"))
    return found


def _apart(made: Settings, definitions: Definitions, names: list[str]) -> None:
    distributions = list(definitions.distributions)
    made.settings[DISTRIBUTION] = distributions[0]
    made.notes["settings", DISTRIBUTION] = (
        f"One of {listing(distributions)}. Hosts with another one say so under 'vars' of their role, or their own."
    )
    made.settings[DISTRIBUTIONS] = {
        one: {name: values[name].value for name in names if name in values}
        for one, values in definitions.distributions.items()
    }
    for one, values in definitions.distributions.items():
        for name in names:
            if name in values:
                made.notes["settings", DISTRIBUTIONS, one, name] = values[name].origin
    for name in names:
        made.release[name] = f"{{{{ {DISTRIBUTIONS}[{DISTRIBUTION}]['{name}'] }}}}"
