"""``underway import tripleo``, whole: read, understand, judge, and give the files; nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underway.config import names
from underway.config.words import shown
from underway.errors import FileProblems, InputError, Problem, UsageError
from underway.importers.tripleo.collect import Collection, collect
from underway.importers.tripleo.convert import Converted, convert
from underway.importers.tripleo.inputs import (
    Environment,
    Tree,
    find_registry,
    names_for_rendering,
    read_environment,
    read_roles,
)
from underway.importers.tripleo.made import FORWARD, FORWARD_POST, judge
from underway.importers.tripleo.nodes import Refusal
from underway.importers.tripleo.report import told, whole_report
from underway.importers.tripleo.tasks import STEPS

SERIES = (
    "mitaka", "newton", "ocata", "pike", "queens", "rocky", "stein", "train", "ussuri", "victoria", "wallaby", "xena",
    "yoga", "zed",
)  # fmt: skip
"""Releases of OpenStack in their order, as ``heat_template_version`` names them (releases.openstack.org)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says. ``source``, ``target``: releases; "" takes them from ``heat_template_version``."""

    templates: Path
    roles_data: Path
    registry: Path | None = None
    environments: Sequence[Path] = ()
    skip: Sequence[str] = ()
    source: str = ""
    target: str = ""
    forward: Sequence[str] = ()
    """Releases of a fast forward, the first to the last; then its tasks are imported, and no others."""
    strict: bool = False
    partial: bool = False


@dataclass(slots=True)
class Imported:
    """What came of it. ``files``: path -> text, empty where nothing may be written; ``problems``: why not."""

    report: dict[str, Any]
    collection: Collection
    converted: Converted | None = None
    files: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def run(request: Request) -> Imported:
    """Read and understand everything. Raises ``InputError`` where that is not possible at all."""
    if len(request.forward) == 1 or len(request.forward) > 9:
        raise UsageError("--fast-forward names at least two releases, at most nine: ocata,pike,queens")
    tree = Tree(request.templates)
    roles, node = read_roles(request.roles_data)
    tree.names = names_for_rendering(tree, node)
    environment = _environment(request, tree)
    try:
        collection = collect(tree, roles, environment, request.skip)
    except Refusal as refusal:
        raise FileProblems([refusal.problem]) from None
    judge(collection, request.forward)
    imported = Imported({}, collection)
    used = {key for placed in collection.placed for key in placed.refused}
    used |= {service.template.key for placed in collection.placed for service in placed.services}
    refused = {key: problem for key, problem in collection.refused.items() if key in used}
    imported.problems += collection.problems
    if not request.partial:
        imported.problems += refused.values()
    imported.warnings += _warnings(collection, request.forward)
    if request.strict:
        imported.problems += imported.warnings
    source = target = ""
    if not imported.problems:
        source, target = _releases(request, collection)
        for placed in collection.placed:
            placed.services = [one for one in placed.services if one.template.key not in refused]
        imported.converted = convert(collection, environment, source, target, request.forward)
        if refused:
            told_of = [f"  {problem}" for problem in refused.values()]
            imported.converted.native.head += "\n".join(["\n\nLeft out, as --partial asked for:", *told_of])
        imported.files = imported.converted.native.files()
    imported.report = {**whole_report(collection), "release": {"from": source, "to": target}}
    imported.report["warnings"] = [told(problem) for problem in imported.warnings]
    imported.report["left_out"] = sorted(refused) if request.partial else []
    if imported.converted is not None:
        settings = imported.converted.settings
        imported.report["settings"] = settings.values
        imported.report["to_be_set"] = settings.missing
        imported.report["outside_variables"] = imported.converted.needed
        imported.report["idle_roles"] = imported.converted.idle
        imported.report["outside_modules"] = sorted(imported.converted.modules)
    return imported


def _environment(request: Request, tree: Tree) -> Environment:
    registry = request.registry or find_registry(tree)
    if registry is None:
        hint = "give it with --registry, or the whole tree of templates with --templates"
        raise InputError(f"{request.templates}: there is no resource registry in it ({hint})")
    environment = Environment()
    problems: list[Problem] = []
    for path in (registry, *request.environments):
        try:
            read_environment(path, tree, environment)
        except FileProblems as error:
            problems += error.problems
    if problems:
        raise FileProblems(problems)
    return environment


def _releases(request: Request, collection: Collection) -> tuple[str, str]:
    """From which release to which: as asked, or the one that the templates are written for and the one before it."""
    found = {service.template.version for service in collection.services.values()} & set(SERIES)
    target = (
        request.target or (request.forward[-1] if request.forward else "") or max(found, key=SERIES.index, default="")
    )
    if not target:
        raise UsageError("the templates do not say for which release they are: give it with --to, such as --to ocata")
    for option, text in (
        ("--from", request.source),
        ("--to", request.target),
        *(("--fast-forward", one) for one in request.forward),
    ):
        wrong = names.version(text) if text else None
        if wrong is not None:
            raise UsageError(f"{option}: {wrong.message} ({wrong.hint})")
    first = request.forward[0] if request.forward else target
    place = SERIES.index(first) if first in SERIES else 0
    source = request.source or (SERIES[place - 1] if place else "")
    if not source:
        raise UsageError(f"which release comes before {target} is not known: give it with --from")
    if source == target:
        raise UsageError(f"--from and --to are both {shown(source)}")
    return source, target


def _warnings(collection: Collection, forward: Sequence[str]) -> list[Problem]:
    """What stops nothing, and what an operator must know."""
    found: list[Problem] = []

    def warn(place: tuple[str, int, int], code: str, message: str, hint: str = "") -> None:
        found.append(Problem(*place, code, message, hint, severity="warning"))

    for key in sorted({key for placed in collection.placed for key in placed.missing}):
        role = next(placed.role for placed in collection.placed if key in placed.missing)
        message = f"template {shown(key)} is not in the tree: nothing of it is imported"
        warn(role.place, "missing", message, "is --templates the whole tree?")
    for placed in collection.placed:
        tasks = placed.tasks(FORWARD) + placed.tasks(FORWARD_POST)
        if tasks and not forward:
            message = f"role {shown(placed.role.name)} has {len(tasks)} tasks of fast forward, which are not imported"
            warn(placed.role.place, "fast-forward", message, "they are an import of their own: --fast-forward RELEASES")
    never: set[str] = set()
    for placed in collection.placed:
        for key in collection.lists:
            for task in placed.tasks(key):
                if collection.selector.skip & task.tags or str(task.node.place) in never:
                    continue
                if not collection.selector.reaches(task, STEPS[key]):
                    never.add(str(task.node.place))
                    message = f"no step of {key} selects the task {shown(task.name)} of {task.service}"
                    hint = "" if task.asked else "it is in the files, and runs at no number"
                    warn(task.node.place, "never-selected", message, hint)
    for service in {id(one): one for placed in collection.placed for one in placed.services}.values():
        if service.unread is not None:
            message = f"the Puppet manifest of {service.template.key} cannot be read: {service.unread.message}"
            place = (service.unread.path, service.unread.line, service.unread.column)
            warn(place, "manifest", message, "configuration steps leave it out")
    return found
