"""From templates and roles to the tasks of each role (B1, B8, B13). Pure but for the library that reads templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from underway.config.words import nearest, shown
from underway.errors import FileProblems, Problem
from underway.importers.tripleo.heat import Fixed, Resolver, Scope
from underway.importers.tripleo.inputs import Environment, Role, Tree
from underway.importers.tripleo.nodes import Node, Place, Refusal
from underway.importers.tripleo.tasks import Notation, Selector, Task, notation_of, tasks_of
from underway.importers.tripleo.template import LISTS, NONE, Template

PUPPET = "step_config"
ROLE_PARAMETERS = "RoleParameters"


@dataclass(slots=True)
class Service:
    """A template as a role runs it: its lists of tasks without functions, and its Puppet manifest."""

    template: Template
    lists: dict[str, list[Task]]
    name: str = ""
    """``service_name``: ``cinder_api``."""
    manifest: str = ""
    fixed: tuple[Fixed, ...] = ()
    unread: Problem | None = None
    """Why its Puppet manifest could not be read; its tasks could."""


@dataclass(slots=True)
class Placed:
    """A role with the services that have something to do there, in the order of the role."""

    role: Role
    services: list[Service] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def tasks(self, key: str) -> list[Task]:
        """All tasks of one list, in service order then list order, duplicates included (B8)."""
        return [task for service in self.services for task in service.lists.get(key, [])]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a template with upgrade tasks."""

    key: str
    state: Literal["imported", "refused"]
    tasks: Mapping[str, int] = field(default_factory=dict)
    problem: Problem | None = None
    asked: tuple[str, ...] = ()
    """Tasks that run only when one of their tags is asked for; they are told, and not imported."""


@dataclass(slots=True)
class Collection:
    """A whole tree, understood: what is not, is in ``results`` and ``problems``."""

    notation: Notation
    placed: list[Placed]
    results: list[Result]
    aggregators: list[str]
    problems: list[Problem]
    selector: Selector
    services: dict[str, Service] = field(default_factory=dict)
    """Every template of ``results`` that could be resolved, by its key."""
    refused: dict[str, Problem] = field(default_factory=dict)
    """Every template that cannot be imported, whether it is known to have tasks or not, and why."""

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists that are told: those of Ocata, and others where any template has them."""
        found = {key for result in self.results for key in result.tasks}
        found |= {key for one in self.placed for service in one.services for key in service.lists}
        return tuple(key for key in LISTS if key in found or key in ("upgrade_batch_tasks", "upgrade_tasks"))


def collect(tree: Tree, roles: Sequence[Role], environment: Environment, skip: Iterable[str] = ()) -> Collection:
    """Place every service on its roles, and look at every other template of the tree with upgrade tasks as well."""
    reader = _Reader(tree, environment)
    placed = [_place(role, reader, environment) for role in roles]
    results, aggregators = _examine(tree, reader)
    lists = [tasks for service in reader.services.values() for tasks in service.lists.values()]
    notation = notation_of(lists)
    selector = Selector(notation, frozenset(one for one in skip if one))
    services = {result.key: reader.services[result.key, ""] for result in results if result.state == "imported"}
    return Collection(notation, placed, results, aggregators, reader.problems, selector, services, reader.refused)


class _Reader:
    """Resolves each template once (for each set of parameters that a role has of its own)."""

    def __init__(self, tree: Tree, environment: Environment) -> None:
        self.tree = tree
        self.environment = environment
        self.services: dict[tuple[str, str], Service] = {}
        self.refused: dict[str, Problem] = {}
        self.problems: list[Problem] = []

    def service(self, key: str, role: str = "") -> Service | None:
        """A template's service; None where it is refused (the reason is in ``refused``)."""
        own = f"{role}Parameters" if f"{role}Parameters" in self.environment.defaults else ""
        if (key, own) in self.services:
            return self.services[key, own]
        if key in self.refused:
            return None
        try:
            template = self.tree.template(key)
            assert template is not None, "asked for only where it exists"
            found = self._resolved(template, own)
        except Refusal as refusal:
            self.refused[key] = refusal.problem
            return None
        except FileProblems as error:
            self.refused[key] = error.problems[0]
            return None
        self.services[key, own] = found
        return found

    def _resolved(self, template: Template, own: str) -> Service:
        defaults = dict(self.environment.defaults)
        if own:
            defaults[ROLE_PARAMETERS] = defaults[own]
        resolver = Resolver(self.tree, defaults, self.environment.registry)
        scope = Scope(template)
        lists = {key: tasks_of(template.stem, resolver.resolve(node, scope)) for key, node in template.lists().items()}
        service = Service(template, lists)
        value = template.value()
        puppet = value.get(PUPPET) if value is not None and isinstance(value.value, dict) else None
        if puppet is not None:
            try:
                found = resolver.fix(resolver.resolve(puppet, scope)).value
                service.manifest = found.strip() if isinstance(found, str) else ""
            except Refusal as refusal:  # its base is not in the tree, say: told, and its tasks are imported
                service.unread = refusal.problem
        name = value.get("service_name") if value is not None and isinstance(value.value, dict) else None
        if name is not None and isinstance(name.value, str):
            service.name = name.value
        service.fixed = tuple(resolver.fixed.values())
        return service


def _place(role: Role, reader: _Reader, environment: Environment) -> Placed:
    placed = Placed(role)
    seen: set[str] = set()
    for kind, place in _kinds(role, environment):
        target = environment.registry.get(kind)
        hops = 0
        while target is not None and target in environment.registry and hops < 10:
            target, hops = environment.registry[target], hops + 1
        if target is None:
            message = f"service {shown(kind)} of role {shown(role.name)} is in no registry"
            hint = nearest(kind, environment.registry) or "give --registry, or the environment that maps it, with -e"
            reader.problems.append(Problem(*place, "unknown-service", message, hint))
        elif target == NONE:
            placed.absent.append(kind)
        elif not target.endswith(".yaml"):
            message = f"service {shown(kind)} is {shown(target)}, which is no template"
            at = environment.places.get(kind, place)
            reader.problems.append(Problem(*at, "unknown-type", message, "name a template, or OS::Heat::None"))
        elif target in seen:
            continue  # two names for one template: its tasks would be duplicates
        else:
            seen.add(target)
            _take(target, placed, reader)
    return placed


def _take(key: str, placed: Placed, reader: _Reader) -> None:
    try:
        present = reader.tree.template(key) is not None
    except FileProblems as error:
        reader.refused.setdefault(key, error.problems[0])
        present = True
    if not present:
        placed.missing.append(key)
        return
    service = reader.service(key, placed.role.name)
    if service is None:
        placed.refused.append(key)
    elif service.lists or service.manifest or service.unread:
        placed.services.append(service)


def _kinds(role: Role, environment: Environment) -> list[tuple[str, Place]]:
    """The services of a role: ``<Role>Services`` of an environment, or else what the role lists."""
    given = environment.defaults.get(f"{role.name}Services")
    if given is None:
        return [(kind, role.place) for kind in role.services]
    return [(one.text("the name of a service"), one.place) for one in given.items("a list of services")]


def _examine(tree: Tree, reader: _Reader) -> tuple[list[Result], list[str]]:
    """Every template of the tree with upgrade tasks, whether a role runs it or not."""
    results: list[Result] = []
    aggregators: list[str] = []
    for key in tree.paths():
        if not tree.mentions(key, LISTS):
            continue
        try:
            template = tree.template(key)
            if template is None or template.value() is None:
                continue
            if any(_type_of(one) == "OS::Heat::ResourceChain" for one in template.section("resources").values()):
                aggregators.append(key)  # it only adds up what the services of a role say
                continue
            if not template.lists():
                continue
        except (FileProblems, Refusal) as error:
            problem = error.problems[0] if isinstance(error, FileProblems) else error.problem
            reader.refused.setdefault(key, problem)
            results.append(Result(key, "refused", problem=problem))
            continue
        service = reader.service(key)
        if service is None:
            results.append(Result(key, "refused", problem=reader.refused[key]))
        else:
            results.append(Result(key, "imported", {name: len(tasks) for name, tasks in service.lists.items()}))
    return results, aggregators


def _type_of(node: Node) -> str:
    found = node.value.get("type") if isinstance(node.value, dict) else None
    return str(found.value) if found is not None else ""


def counts(role: Role, environment: Environment) -> int:
    """How many hosts a role has: ``<Role>Count`` of an environment, or else ``CountDefault``. Raises ``Refusal``."""
    given = environment.defaults.get(f"{role.name}Count")
    if given is None:
        return role.count
    value = given.value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100_000:
        raise Refusal(given.place, "type", f"expected a number of hosts, found {shown(given.value)}", "0 to 100000")
    return value
