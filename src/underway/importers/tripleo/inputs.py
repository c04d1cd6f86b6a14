"""The files of a TripleO tree: templates as they are asked for, roles, environments, the resource registry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underway.config.located import decoded
from underway.config.reading import MAX_SMALL_BYTES, read_bytes
from underway.config.words import one_of, shown, shown_path
from underway.errors import FileProblems, Problem
from underway.importers.tripleo.nodes import Node, Place, Refusal, bare, parse, show
from underway.importers.tripleo.rendering import render
from underway.importers.tripleo.template import Template

MAX_TEMPLATES = 5000
REGISTRY = "overcloud-resource-registry-puppet"
NETWORKS = "network_data.yaml"
JINJA = ".j2.yaml"


@dataclass(frozen=True, slots=True)
class Role:
    """A role as ``roles_data.yaml`` has it (B12): ``disabled`` is one that the operator drives."""

    name: str
    services: tuple[str, ...]
    place: Place
    count: int = 0
    hostnames: str = ""
    disabled: bool = False
    batch: int = 1
    serial: int = 1
    tags: frozenset[str] = frozenset()


@dataclass(slots=True)
class Environment:
    """What environments say together; later files win, key by key."""

    defaults: dict[str, Node] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    """Where each entry of the registry stands."""


class Tree:
    """The directory of templates (``--templates``). Files are read once, when they are asked for."""

    def __init__(self, root: Path, names: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.names: Mapping[str, Any] = names or {"roles": [], "networks": []}
        self._templates: dict[str, Template | None] = {}
        try:
            if not root.is_dir():
                raise FileProblems([Problem(shown_path(root), 0, 0, "missing", "the directory does not exist")])
            self._real = root.resolve(strict=True)
            os.scandir(root).close()
        except OSError as error:
            found = [Problem(shown_path(root), 0, 0, "unreadable", f"cannot be read: {error.strerror or error}")]
            raise FileProblems(found) from None

    def paths(self) -> Iterator[str]:
        """Every YAML file below the directory, as keys, in order of path; ``x.j2.yaml`` as ``x.yaml``."""
        found: set[str] = set()
        failed: list[OSError] = []
        for directory, below, files in os.walk(self.root, onerror=failed.append):
            below[:] = sorted(one for one in below if not one.startswith("."))
            base = Path(directory).relative_to(self.root)
            for name in files:
                if name.endswith(".yaml") and not name.startswith("."):
                    found.add(
                        (base / (name.removesuffix(JINJA) + ".yaml" if name.endswith(JINJA) else name)).as_posix()
                    )
            if len(found) > MAX_TEMPLATES:
                message = f"more than {MAX_TEMPLATES:,} YAML files"
                hint = "give the directory of tripleo-heat-templates itself"
                raise FileProblems([Problem(shown_path(self.root), 0, 0, "too-big", message, hint)])
        if failed:
            at = shown_path(failed[0].filename or self.root)
            raise FileProblems([Problem(at, 0, 0, "unreadable", f"cannot be read: {failed[0].strerror}")])
        return iter(sorted(found))

    def template(self, key: str) -> Template | None:
        """See ``Library``."""
        if key not in self._templates:
            node = self.read(key)
            self._templates[key] = Template(key, node) if node is not None else None
        return self._templates[key]

    def read(self, key: str) -> Node | None:
        """A YAML file of the tree; rendered, where there is only its ``.j2.yaml``. Raises ``FileProblems``."""
        path = self._inside(key)
        if path.exists():
            return parse(read_bytes(path, shown_path(path), MAX_SMALL_BYTES), shown_path(path))
        jinja = self._inside(key.removesuffix(".yaml") + JINJA)
        return read_rendered(jinja, self.names) if jinja.exists() else None

    def mentions(self, key: str, words: Iterable[str]) -> bool:
        """Whether the file holds one of the words: a cheap look before it is read as YAML."""
        for path in (self._inside(key), self._inside(key.removesuffix(".yaml") + JINJA)):
            if path.is_file() and path.stat().st_size <= MAX_SMALL_BYTES:
                data = path.read_bytes()
                return any(word.encode() in data for word in words)
        return False

    def file(self, key: str) -> str | None:
        """See ``Library``."""
        path = self._inside(key)
        if not path.exists():
            return None
        return decoded(read_bytes(path, shown_path(path), MAX_SMALL_BYTES), shown_path(path))

    def _inside(self, key: str) -> Path:
        path = self.root / key
        if not path.resolve().is_relative_to(self._real):
            message = "the link leads out of the directory of templates"
            raise FileProblems([Problem(shown_path(path), 0, 0, "outside", message)])
        return path

    def key_of(self, path: Path) -> str | None:
        """The key of a path, or None where it is outside of the directory."""
        real = Path(os.path.normpath(path.absolute()))
        for root in (Path(os.path.normpath(self.root.absolute())), self._real):
            if real.is_relative_to(root):
                return real.relative_to(root).as_posix()
        return None


def read_rendered(path: Path, names: Mapping[str, Any]) -> Node:
    """A ``.j2.yaml`` as YAML; its lines are those of the rendered text, which messages say."""
    at = shown_path(path)
    text = render(decoded(read_bytes(path, at, MAX_SMALL_BYTES), at), at, names)
    return parse(text.encode(), f"{at} (rendered)")


def read_yaml(path: Path, names: Mapping[str, Any] | None = None) -> Node:
    """A file given on the command line. Raises ``FileProblems``."""
    if path.name.endswith(JINJA):
        return read_rendered(path, names or {"roles": [], "networks": []})
    return parse(read_bytes(path, shown_path(path), MAX_SMALL_BYTES), shown_path(path))


def read_roles(path: Path) -> tuple[list[Role], Node]:
    """``roles_data.yaml``: the roles in their order, and the file itself (for what is rendered with it)."""
    node = read_yaml(path)
    problems: list[Problem] = []
    roles: list[Role] = []
    if not isinstance(node.value, list) or not node.value:
        found = f"expected a list of roles, found {show(node)}"
        raise FileProblems(
            [Problem(*node.place, "type", found, "for example: [{name: Controller, ServicesDefault: […]}]")]
        )
    seen: dict[str, Place] = {}
    for one in node.value:
        try:
            role = _role(one)
        except Refusal as refusal:
            problems.append(refusal.problem)
            continue
        first = seen.setdefault(role.name.lower(), role.place)
        if first is not role.place:
            message = f"role {shown(role.name)} stands twice: here and at line {first.line}"
            problems.append(Problem(*role.place, "defined-twice", message, "rename one"))
        roles.append(role)
    if problems:
        raise FileProblems(problems)
    return roles, node


def _role(node: Node) -> Role:
    fields = node.mapping("a role")
    if "name" not in fields:
        raise Refusal(node.place, "type", "a role has no name")
    name = fields["name"].text("the name of a role")
    services = [one.text("the name of a service") for one in _listed(fields.get("ServicesDefault"), "services")]
    tags = frozenset(str(one.value) for one in _listed(fields.get("tags"), "tags"))
    batch = _count(fields, "upgrade_batch_size", 1)
    if batch < 1:
        raise Refusal(fields["upgrade_batch_size"].place, "bounds", "upgrade_batch_size is 0", "at least 1")
    return Role(
        name=name,
        services=tuple(services),
        place=node.place,
        count=_count(fields, "CountDefault", 0),
        hostnames=str(fields["HostnameFormatDefault"].value) if "HostnameFormatDefault" in fields else "",
        disabled=_flag(fields.get("disable_upgrade_deployment")),
        batch=batch,
        serial=_count(fields, "deploy_serial", 1) or 1,
        tags=tags,
    )


def _listed(node: Node | None, what: str) -> list[Node]:
    return [] if node is None or node.value is None else node.items(f"a list of {what}")


def _flag(node: Node | None) -> bool:
    if node is None or node.value is None:
        return False
    if isinstance(node.value, bool):
        return node.value
    raise Refusal(node.place, "type", f"expected true or false, found {show(node)}")


def _count(fields: Mapping[str, Node], key: str, default: int) -> int:
    node = fields.get(key)
    if node is None or node.value is None:
        return default
    value = node.value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100_000:
        raise Refusal(node.place, "type", f"expected a number of hosts for {key}, found {show(node)}", "0 to 100000")
    return value


def read_environment(path: Path, tree: Tree, into: Environment) -> None:
    """Lay an environment file (or the registry) over what ``into`` says. Raises ``FileProblems``."""
    node = read_yaml(path, tree.names)
    try:
        _environment(path, node, tree, into)
    except Refusal as refusal:
        raise FileProblems([refusal.problem]) from None


_KNOWN = (
    "parameter_defaults", "parameters", "resource_registry", "parameter_merge_strategies", "encrypted_param_names",
    "event_sinks", "repo_type",
)  # fmt: skip


def _environment(path: Path, node: Node, tree: Tree, into: Environment) -> None:
    if node.value is None:
        return
    parts = node.mapping("an environment")
    for key, one in parts.items():
        if key not in _KNOWN:
            message = f"unknown key {shown(key)} in an environment"
            raise Refusal(one.place, "unknown-key", message, one_of(key, _KNOWN, "keys"))
    for key in ("parameters", "parameter_defaults"):
        if key in parts and parts[key].value is not None:
            into.defaults.update(parts[key].mapping("parameters by name"))
    registry = parts.get("resource_registry")
    if registry is None or registry.value is None:
        return
    if not isinstance(registry.value, dict):
        registry.mapping("types and templates")
    for kind, target in registry.value.items():
        if "::Services::" in kind:
            registry.check_twice(kind)  # others are no service; TripleO's own registry overrides some on purpose
        if isinstance(target.value, dict):
            continue  # 'resources': hooks of single resources; no service is placed by it
        text = target.text("the path of a template, or a type")
        into.registry[kind] = _target(path, text, target, tree)
        into.places[kind] = target.place


def _target(path: Path, text: str, node: Node, tree: Tree) -> str:
    if not text.endswith((".yaml", ".template")):
        return text
    if "://" in text:
        raise Refusal(node.place, "url", f"{shown(text)} is not fetched", "download it, and name the file")
    key = tree.key_of(path.parent / text)
    if key is None:
        message = f"{shown(text)} is not inside --templates {shown_path(tree.root)}"
        raise Refusal(node.place, "outside", message, "copy the template into the tree, or give the tree that holds it")
    return key.removesuffix(JINJA) + ".yaml" if key.endswith(JINJA) else key


def find_registry(tree: Tree) -> Path | None:
    """The registry of the tree itself: plain, or still Jinja2."""
    for name in (f"{REGISTRY}.yaml", f"{REGISTRY}{JINJA}"):
        if (tree.root / name).exists():
            return tree.root / name
    return None


def names_for_rendering(tree: Tree, roles: Node) -> dict[str, Any]:
    """What ``.j2.yaml`` files are rendered with: roles, and the networks where the tree says which."""
    networks = tree.read(NETWORKS)
    return {"roles": bare(roles), "networks": bare(networks) if networks is not None else []}
