"""Heat's functions, as far as upgrade tasks use them: a value with functions in it to a value without.

Rules: Heat's template guide, "Intrinsic functions" (B9, B27). A parameter that a task only carries becomes a
``Reference``; one that a function must know is read here and noted in ``Resolver.fixed``. Whatever cannot be resolved
is refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from underway.config.words import nearest, one_of, path_text, shown
from underway.importers.tripleo import intrinsic
from underway.importers.tripleo.nodes import Budget, Node, Place, Refusal, bare
from underway.importers.tripleo.parameters import Parameter, Reference, Text, parse_value, typed
from underway.importers.tripleo.template import NONE, Library, Template, beside
from underway.importers.tripleo.yaql import YaqlError, evaluate

MAX_NESTING = 60
"""Functions, templates and values inside each other; no template comes near it."""

OTHERS = frozenset(
    {
        "get_resource", "resource_facade", "digest", "filter", "make_url", "repeat", "map_deep_merge",
        "Fn::GetAtt", "Fn::Join", "Fn::Select", "Fn::Split", "Fn::Replace", "Fn::Base64", "Fn::If", "Ref",
    }
)  # fmt: skip
"""Functions of Heat that no upgrade task uses, or that only a running Heat can answer."""
_LOOKS = re.compile(r"(get|str|list|map)_[a-z_]+")
_ANSIBLE = frozenset({"get_url", "get_checksum", "get_mime", "get_attributes", "get_md5", "get_bin", "map_roles"})
"""Single keys that look like functions of Heat, and are Ansible's."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A parameter whose value at import decided what the tasks are: another value later changes nothing."""

    parameter: str
    value: Any
    place: Place


@dataclass(slots=True, eq=False)
class Scope:
    """A template with the values that its parent gave to its parameters, resolved where the parent stands."""

    template: Template
    given: Mapping[str, Node] = field(default_factory=dict)
    parent: Scope | None = None


class Resolver:
    """Resolves values of templates. ``defaults``: ``parameter_defaults`` of the environments, merged; ``registry``:
    resource type to path of a template, or ``OS::Heat::None``.
    """

    def __init__(self, library: Library, defaults: Mapping[str, Node], registry: Mapping[str, str]) -> None:
        self.library = library
        self.defaults = defaults
        self.registry = registry
        self.fixed: dict[tuple[str, Place], Fixed] = {}
        self.budget = Budget()
        self.trail: list[str] = []
        self.depth = 0

    def resolve(self, node: Node, scope: Scope) -> Node:
        """``node`` without functions. Raises ``Refusal``."""
        self.budget.spend(node.place)
        with self._deeper(node):
            if isinstance(node.value, list):
                return Node(node.place, [self.resolve(one, scope) for one in node.value])
            if not isinstance(node.value, dict):
                return node
            if len(node.value) == 1:
                (name,) = node.value
                if name in _FUNCTIONS:
                    return _FUNCTIONS[name](self, node, node.value[name], scope)
                if name in OTHERS:
                    message = f"Heat function {shown(name)} cannot be computed without a running Heat"
                    raise Refusal(node.place, "heat-function", message, "write its value out")
                if _LOOKS.fullmatch(name) and name not in _ANSIBLE:
                    message = f"unknown Heat function {shown(name)}"
                    raise Refusal(node.place, "heat-function", message, nearest(name, _FUNCTIONS))
            node.mapping("a mapping")
            return Node(node.place, {key: self.resolve(one, scope) for key, one in node.value.items()})

    @contextmanager
    def _deeper(self, node: Node) -> Iterator[None]:
        self.depth += 1
        try:
            if self.depth > MAX_NESTING:
                raise Refusal(
                    node.place, "too-deep", f"functions and values are nested deeper than {MAX_NESTING} levels"
                )
            yield
        finally:
            self.depth -= 1

    @contextmanager
    def inside(self, what: str, node: Node) -> Iterator[None]:
        """While ``what`` is being resolved: asking for it again is a circle."""
        if what in self.trail:
            circle = [*self.trail[self.trail.index(what) :], what]
            message = f"the template needs its own result: {path_text(circle)}"
            raise Refusal(node.place, "cycle", message, "remove one of these")
        self.trail.append(what)
        try:
            yield
        finally:
            self.trail.pop()

    # parameters

    def parameter(self, name: str, node: Node, scope: Scope) -> tuple[Parameter, Node | None]:
        """A parameter of the template and its value, None where nothing gives one."""
        declared = scope.template.parameter(name)
        if declared is None:
            names = sorted(scope.template.section("parameters"))
            message = f"{scope.template.key} declares no parameter {shown(name)}"
            raise Refusal(node.place, "unknown-parameter", message, one_of(name, names, "parameters"))
        if name in scope.given and scope.parent is not None:
            return declared, self.resolve(scope.given[name], scope.parent)
        if name in self.defaults:
            return declared, typed(declared, self.defaults[name])
        return declared, declared.default

    def fix(self, node: Node) -> Node:
        """``node`` with all its settings read now, because what comes of it depends on them."""
        value = node.value
        if isinstance(value, Reference):
            if value.value is None:
                name = value.parameter.name
                message = f"parameter {shown(name)} decides what is done, and has neither default nor value"
                hint = f"give it in an environment: parameter_defaults: {{{name}: …}}"
                raise Refusal(node.place, "no-value", message, hint)
            self.fixed.setdefault(
                (value.parameter.name, node.place), Fixed(value.parameter.name, bare(value.value), node.place)
            )
            return self.fix(value.value)
        if isinstance(value, Text):
            return Node(node.place, "".join(self.as_text(Node(node.place, part)) for part in value.parts))
        if isinstance(value, list):
            return Node(node.place, [self.fix(one) for one in value])
        if isinstance(value, dict):
            return Node(node.place, {key: self.fix(one) for key, one in value.items()})
        return node

    def as_text(self, node: Node) -> str:
        found = self.fix(node).value
        if isinstance(found, dict | list):
            raise Refusal(node.place, "type", f"expected text, found {shown(found)}")
        return ("true" if found else "false") if isinstance(found, bool) else "" if found is None else str(found)

    def _get_param(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.value if isinstance(argument.value, list) else [argument]
        names = [self.as_text(self.resolve(part, scope)) for part in parts]
        if not names or not names[0]:
            raise Refusal(node.place, "type", "get_param names no parameter", "for example {get_param: NovaWorkers}")
        declared, value = self.parameter(names[0], node, scope)
        if value is not None and isinstance(value.value, Reference | Text) and len(names) == 1:
            return Node(node.place, value.value)  # the parent passes a parameter of its own on
        if len(names) > 1:
            value, left = _descend(self.fix(value) if value is not None else None, names[1:])
            if left and declared.name != "RoleParameters":
                return Node(node.place, Reference(declared, tuple(names[1:])))
        if value is not None and _is_template(value):
            return value  # Jinja2 of the deployment: settings are data, and would not be evaluated
        return Node(node.place, Reference(declared, tuple(names[1:]), value))

    # attributes of resources

    def _get_attr(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.items("a list of resource and attribute")
        names = [self.as_text(self.resolve(part, scope)) for part in parts]
        if len(names) < 2:
            raise Refusal(
                node.place, "type", "get_attr names no attribute", "for example [ApacheServiceBase, role_data]"
            )
        resources = scope.template.section("resources")
        resource = resources.get(names[0])
        if resource is None:
            message = f"{scope.template.key} has no resource {shown(names[0])}"
            raise Refusal(node.place, "unknown-resource", message, one_of(names[0], sorted(resources), "resources"))
        kind_node = resource.get("type") if isinstance(resource.value, dict) else None
        if kind_node is None:
            raise Refusal(resource.place, "type", f"resource {shown(names[0])} has no type")
        kind = kind_node.text("the type of a resource")
        properties = resource.get("properties")
        given = properties.value if properties is not None and isinstance(properties.value, dict) else {}
        if kind == "OS::Heat::Value":
            if "value" not in given:
                raise Refusal(resource.place, "type", f"resource {shown(names[0])} has no value")
            if names[1] != "value":
                raise Refusal(node.place, "unknown-attribute", f"OS::Heat::Value has no {shown(names[1])}", "'value'")
            with self.inside(f"{scope.template.key}#{names[0]}", node):
                return self._pick(self.resolve(given["value"], scope), names[2:], node)
        key = self._type(kind, kind_node, scope)
        if key is None:
            return Node(node.place, None)
        template = self.library.template(key)
        if template is None:
            message = f"template {shown(key)}, the type of resource {shown(names[0])}, does not exist"
            raise Refusal(kind_node.place, "missing", message, "is --templates the whole tree?")
        output = template.section("outputs").get(names[1])
        value = output.get("value") if output is not None and isinstance(output.value, dict) else None
        if value is None:
            raise Refusal(node.place, "unknown-attribute", f"{key} has no output {shown(names[1])}")
        inner = Scope(template, given, scope)
        # into the mapping before resolving: of role_data only the list that is asked for matters
        rest = names[2:]
        while rest and isinstance(value.value, dict) and rest[0] in value.value:
            found = value.get(rest.pop(0))
            assert found is not None
            value = found
        if (
            rest
            and isinstance(value.value, dict)
            and not (len(value.value) == 1 and next(iter(value.value)) in _FUNCTIONS)
        ):
            return Node(node.place, None)  # Heat gives nothing for a part of an output that is not there
        with self.inside(f"{key}#{'.'.join(names[1:])}", node):
            return self._pick(self.resolve(value, inner), rest, node)

    def _type(self, kind: str, node: Node, scope: Scope) -> str | None:
        """The template behind a resource type; None for one that is absent (``OS::Heat::None``)."""
        if kind.endswith((".yaml", ".template")):
            return beside(scope.template.key, kind, node)
        found = self.registry.get(kind)
        if kind == NONE or found == NONE:
            return None
        if found is None:
            message = f"resource type {shown(kind)} is in no registry, or made by Heat at run time"
            hint = one_of(kind, self.registry, "types") if kind.startswith("OS::TripleO::") else ""
            raise Refusal(node.place, "unknown-type", message, hint)
        return found

    def _pick(self, value: Node, names: list[str], node: Node) -> Node:
        found, left = _descend(self.fix(value) if names and isinstance(value.value, Reference) else value, names)
        if found is None or left:
            return Node(node.place, None)
        return found

    # files, yaql

    def _get_file(self, node: Node, argument: Node, scope: Scope) -> Node:
        path = self.as_text(self.resolve(argument, scope))
        text = self.library.file(beside(scope.template.key, path, argument))
        if text is None:
            message = f"file {shown(path)} does not exist"
            raise Refusal(argument.place, "missing", message, "is --templates the whole tree?")
        return Node(node.place, text)

    def _yaql(self, node: Node, argument: Node, scope: Scope) -> Node:
        fields = argument.mapping("expression and data")
        if set(fields) != {"expression", "data"}:
            raise Refusal(argument.place, "type", "yaql has exactly 'expression' and 'data'")
        expression = fields["expression"]
        text = expression.text("an expression")
        data = {"data": self._plain(self.resolve(fields["data"], scope))}
        try:
            result = evaluate(text, data)
        except YaqlError as error:
            raise Refusal(expression.place, "yaql", f"yaql {shown(text)}: {error}") from None
        except RecursionError:
            raise Refusal(expression.place, "too-deep", "yaql is nested too deep") from None
        return _again(result, node.place)

    def _plain(self, node: Node) -> Any:
        """What yaql sees: tasks stay nodes, with their places and settings; all else is read."""
        self.budget.spend(node.place)
        if isinstance(node.value, list):
            return [one if isinstance(one.value, dict) else self._plain(one) for one in node.value]
        if isinstance(node.value, dict):
            return {key: self._plain(one) for key, one in node.value.items()}
        fixed = self.fix(node)
        return fixed.value if fixed is node else self._plain(fixed)


def _descend(node: Node | None, names: list[str]) -> tuple[Node | None, list[str]]:
    """The part of a value at ``names``, and what of the names could not be followed."""
    left = list(names)
    while left and node is not None:
        value = node.value
        if isinstance(value, dict) and left[0] in value:
            node = value[left.pop(0)]
        elif isinstance(value, list) and left[0].isascii() and left[0].isdigit() and int(left[0]) < len(value):
            node = value[int(left.pop(0))]
        else:
            return node, left
    return node, left


def _is_template(node: Node) -> bool:
    value = node.value
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_template(one) for one in inside)


def _again(value: Any, place: Place) -> Node:
    """What yaql gave, as nodes again."""
    if isinstance(value, Node):
        return value
    if isinstance(value, list):
        return Node(place, [_again(one, place) for one in value])
    if isinstance(value, dict):
        return Node(place, {key: _again(one, place) for key, one in value.items()})
    return parse_value(value, place)


_FUNCTIONS: dict[str, Callable[[Resolver, Node, Node, Scope], Node]] = {
    "get_param": Resolver._get_param,
    "get_attr": Resolver._get_attr,
    "get_file": Resolver._get_file,
    "yaql": Resolver._yaql,
    **intrinsic.FUNCTIONS,
}
