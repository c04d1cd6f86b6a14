"""An import from its files to ours: reads all, understands all, and only then has anything to write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from underway.config.words import listing, shown
from underway.errors import FileProblems, Problem
from underway.importers import vault
from underway.importers.native import Native
from underway.importers.spinalstack import build, classes, reading, scenario
from underway.importers.spinalstack.configuration import SERVICE
from underway.importers.spinalstack.convert import Context
from underway.importers.spinalstack.metadata import check_paths
from underway.importers.spinalstack.reading import Documents, Files
from underway.importers.spinalstack.report import report
from underway.importers.spinalstack.settings import settings
from underway.importers.spinalstack.snippets import BASE, Snippet
from underway.importers.spinalstack.variables import definitions


@dataclass(frozen=True, slots=True)
class Imported:
    """``native`` is None where something is wrong; ``report`` is what ``--json`` prints, as far as it got."""

    native: Native | None
    report: dict[str, Any]
    problems: list[Problem]
    release: str = ""

    @property
    def errors(self) -> list[Problem]:
        """What refuses the import."""
        return [problem for problem in self.problems if problem.severity == "error"]


def import_files(files: Files, *, metadata: Path | None, vault_password: str | None, strict: bool) -> Imported:
    """Read and understand ``files``. Writes nothing. ``strict``: warnings refuse, too."""
    seal = partial(vault.sealed, password=vault_password) if vault_password else None
    found = reading.documents(files)
    if found.infra is None or found.upgrade_map is None or (files.env is not None and found.env is None):
        return Imported(None, report({}, {}, {}, found.problems), found.problems)
    return _understood(files, found, metadata, seal, strict)


def _understood(files: Files, found: Documents, metadata: Path | None, seal: Any, strict: bool) -> Imported:
    assert found.infra is not None and found.upgrade_map is not None
    problems = list(found.problems)
    said, sources = scenario.understand(found.infra, found.env)
    problems += said.problems
    snippets_of, wrong = classes.class_map(found.upgrade_map, found.snippets)
    problems += wrong
    orders = {profile.name: classes.order(profile, snippets_of) for profile in said.profiles}
    wanted = dict.fromkeys([BASE, *(name for order in orders.values() for name in order.once)])
    used = {name: found.snippets[name] for name in wanted if name in found.snippets}
    if BASE not in used and found.snippets:
        hint = "it is put first for every profile; one without tasks is accepted"
        message = f"the base snippet {BASE}.yaml is missing"
        problems.append(Problem(str(files.snippets), 0, 0, "missing", message, hint))
    problems += _of_snippets(found.snippets, used)
    jump, wrong = build.releases(said, sources)
    problems += wrong
    names = definitions(sources, "config" in sources.value, found.shared, found.distributions)
    problems += names.problems
    roles = {profile.name: profile.role for profile in said.profiles}
    context = Context(roles, names, partial(_helper, files.helpers, problems))
    parts = build.pieces(context, used)
    problems += context.problems
    variables = settings(names, context.used, seal)
    problems += variables.problems
    problems += _clashes(used)
    problems += _notices(said, sources, orders, context)
    if metadata is not None:
        problems += check_paths(metadata, said, sources, names, jump)
    if strict:
        problems = [replace(one, severity="error") for one in problems]
    known = {name: order for name, order in orders.items() if all(one in used for one in order.once)}
    told = report(known, found.snippets, {p.name: said.hosts_of(p.name) for p in said.profiles}, problems)
    if any(problem.severity == "error" for problem in problems):
        return Imported(None, told, problems)
    native = build.build(said, orders, used, parts, variables, jump, list(found.distributions))
    return Imported(native, told, problems, jump.target)


def _helper(directory: Path, problems: list[Problem], name: str) -> bytes | None:
    try:
        return reading.helper(directory, name)
    except FileProblems as error:
        problems += [one for one in error.problems if one not in problems]
        return b""


def _of_snippets(there: dict[str, Snippet], used: dict[str, Snippet]) -> list[Problem]:
    """Mistakes of snippets that are used; those of others are worth a warning, as the next map may name them."""
    found: list[Problem] = []
    for name, snippet in there.items():
        if name in used:
            found += snippet.problems
            if snippet.empty and name != BASE:
                message = "the snippet is empty: there is nothing to do for it"
                found.append(Problem(snippet.document.path, 0, 0, "empty-snippet", message, severity="warning"))
        else:
            found += [replace(one, severity="warning", message=f"{one.message}; no class here uses this snippet")
                      for one in snippet.problems if one.severity == "error"]  # fmt: skip
    return found


def _clashes(used: dict[str, Snippet]) -> list[Problem]:
    """Two snippets cannot be one service."""
    seen: dict[str, str] = {}
    found = []
    for name, snippet in used.items():
        other = seen.setdefault(build.service_name(name), name)
        if other != name or build.service_name(name) == SERVICE:
            what = shown(other) if other != name else "the configuration by Puppet"
            message = f"snippet {shown(name)} and {what} would both be the service {build.service_name(name)!r}"
            found.append(Problem(snippet.document.path, 0, 0, "name-clash", message, "rename the snippet"))
    return found


def _notices(
    said: scenario.Scenario,
    sources: scenario.Sources,
    orders: dict[str, classes.Order],
    context: Context,
) -> list[Problem]:
    """What operators should know: classes that nothing is done for (A17), helpers of ours."""
    found = []
    for profile in said.profiles:
        without = orders[profile.name].without
        if without:
            number = f"{len(without)} of {orders[profile.name].classes} classes"
            message = f"profile {shown(profile.name)}: no snippet for {number}: {listing(without)}"
            at = ("profiles", profile.name)
            found.append(sources.problem(at, "class-without-snippet", message, of="key", severity="warning"))
    for carried in context.carried:
        if carried.own:
            message = "not among the helper files: the program's own is used (it closes no compute with servers on it)"
            found.append(Problem(carried.name, 0, 0, "own-helper", message, "--files DIR names yours", "", "warning"))
    if sources.env is None and sources.value.get("hosts") is None:
        message = "no environment was given: the result has no hosts, and cannot be planned yet"
        found.append(Problem(sources.infra.path, 0, 0, "no-hosts", message, "give --env", "", "warning"))
    return found
