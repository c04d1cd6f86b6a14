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
from underway.importers.tripleo.nodes import Budget, Node, Place, Refusal, bare, show
from underway.importers.tripleo.parameters import Parameter, Reference, Text, joined, parse_value, typed
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
    def _inside(self, what: str, node: Node) -> Iterator[None]:
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
            return Node(node.place, "".join(self._as_text(Node(node.place, part)) for part in value.parts))
        if isinstance(value, list):
            return Node(node.place, [self.fix(one) for one in value])
        if isinstance(value, dict):
            return Node(node.place, {key: self.fix(one) for key, one in value.items()})
        return node

    def _as_text(self, node: Node) -> str:
        found = self.fix(node).value
        if isinstance(found, dict | list):
            raise Refusal(node.place, "type", f"expected text, found {shown(found)}")
        return ("true" if found else "false") if isinstance(found, bool) else "" if found is None else str(found)

    def _get_param(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.value if isinstance(argument.value, list) else [argument]
        names = [self._as_text(self.resolve(part, scope)) for part in parts]
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
        names = [self._as_text(self.resolve(part, scope)) for part in parts]
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
            with self._inside(f"{scope.template.key}#{names[0]}", node):
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
        with self._inside(f"{key}#{'.'.join(names[1:])}", node):
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

    # text, lists, mappings

    def _str_replace(self, node: Node, argument: Node, scope: Scope) -> Node:
        fields = argument.mapping("template and params")
        if set(fields) != {"template", "params"}:
            raise Refusal(argument.place, "type", "str_replace has exactly 'template' and 'params'")
        template = self.resolve(fields["template"], scope)
        values = self.resolve(fields["params"], scope).mapping("params")
        parts: list[str | Reference] = list(
            template.value.parts if isinstance(template.value, Text) else [self._as_text(template)]
        )
        # one pass over the text, longest name first: what was put in is not looked at again (Heat's rule)
        for name in sorted(values, key=lambda key: (-len(key), key)):
            if not name:
                raise Refusal(argument.place, "type", "str_replace has an empty name in 'params'")
        if not values:
            return Node(node.place, joined(parts))
        pattern = re.compile("|".join(re.escape(name) for name in sorted(values, key=lambda key: (-len(key), key))))
        done: list[str | Reference] = []
        for part in parts:
            if isinstance(part, Reference):
                done.append(part)
                continue
            last = 0
            for match in pattern.finditer(part):
                done += [part[last : match.start()], *self._pieces(values[match[0]])]
                last = match.end()
            done.append(part[last:])
        return Node(node.place, joined(done))

    def _pieces(self, node: Node) -> list[str | Reference]:
        if isinstance(node.value, Text):
            return list(node.value.parts)
        if isinstance(node.value, Reference):
            if node.value.parameter.kind in ("json", "comma_delimited_list"):
                node = self.fix(node)
            else:
                return [node.value]
        if isinstance(node.value, dict | list):
            raise Refusal(node.place, "type", f"expected text, found {show(node)}")
        return [self._as_text(node)]

    def _list_join(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.items("a separator and lists")
        if len(parts) < 2:
            raise Refusal(argument.place, "type", "list_join has a separator and at least one list")
        separator = self._as_text(self.resolve(parts[0], scope))
        pieces: list[str | Reference] = []
        for listed in parts[1:]:
            for one in self._list(self.resolve(listed, scope), "list_join"):
                if pieces:
                    pieces.append(separator)
                pieces += self._pieces(one)
        return Node(node.place, joined(pieces))

    def _list(self, node: Node, who: str) -> list[Node]:
        found = self.fix(node) if isinstance(node.value, Reference) else node
        if found.value is None:
            return []
        if not isinstance(found.value, list):
            raise Refusal(node.place, "type", f"{who} expected a list, found {show(found)}")
        return found.value

    def _list_concat(self, node: Node, argument: Node, scope: Scope) -> Node:
        whole: list[Node] = []
        for one in argument.items("lists"):
            whole += self._list(self.resolve(one, scope), "list_concat")
        return Node(node.place, whole)

    def _map_merge(self, node: Node, argument: Node, scope: Scope) -> Node:
        merged: dict[str, Node] = {}
        for one in self.resolve(argument, scope).items("mappings"):
            found = self.fix(one) if isinstance(one.value, Reference) else one
            if found.value is not None:
                merged.update(found.mapping("a mapping"))
        return Node(node.place, merged)

    def _map_replace(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.items("a mapping and replacements")
        if len(parts) != 2:
            raise Refusal(argument.place, "type", "map_replace has a mapping, and 'keys' or 'values'")
        source = self._whole_map(parts[0], scope)
        rules = parts[1].mapping("'keys' or 'values'")
        keys = self._whole_map(rules["keys"], scope) if "keys" in rules else {}
        values = self._whole_map(rules["values"], scope) if "values" in rules else {}
        result: dict[str, Node] = {}
        for key, one in source.items():
            renamed = self._as_text(keys[key]) if key in keys else key
            replaced = values.get(one.value) if isinstance(one.value, str) else None
            result[renamed] = replaced if replaced is not None else one
        return Node(node.place, result)

    def _whole_map(self, node: Node, scope: Scope) -> dict[str, Node]:
        found = self.resolve(node, scope)
        found = self.fix(found) if isinstance(found.value, Reference) else found
        return {} if found.value is None else found.mapping("a mapping")

    def _str_split(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.items("a separator and a text")
        if len(parts) not in (2, 3):
            raise Refusal(argument.place, "type", "str_split has a separator, a text and perhaps an index")
        separator, text = (self._as_text(self.resolve(part, scope)) for part in parts[:2])
        if not separator:
            raise Refusal(argument.place, "type", "str_split has an empty separator")
        found = [Node(node.place, one) for one in text.split(separator)]
        if len(parts) == 2:
            return Node(node.place, found)
        index = parts[2].value
        if not isinstance(index, int) or index >= len(found):
            raise Refusal(parts[2].place, "type", f"the text has {len(found)} parts, and {show(parts[2])} is asked for")
        return found[index]

    def _get_file(self, node: Node, argument: Node, scope: Scope) -> Node:
        path = self._as_text(self.resolve(argument, scope))
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

    # conditions

    def _if(self, node: Node, argument: Node, scope: Scope) -> Node:
        parts = argument.items("condition and values")
        if len(parts) not in (2, 3):
            raise Refusal(argument.place, "type", "if has a condition, a value and perhaps another")
        if self._true(parts[0], scope):
            return self.resolve(parts[1], scope)
        return self.resolve(parts[2], scope) if len(parts) == 3 else Node(node.place, None)

    def _true(self, node: Node, scope: Scope) -> bool:
        """Whether a condition holds: a name, a function, a truth value."""
        value = node.value
        if isinstance(value, str):
            conditions = scope.template.section("conditions")
            found = conditions.get(value)
            if found is None:
                message = f"{scope.template.key} has no condition {shown(value)}"
                raise Refusal(node.place, "unknown-condition", message, one_of(value, sorted(conditions), "conditions"))
            with self._inside(f"{scope.template.key}?{value}", node):
                return self._true(found, scope)
        if isinstance(value, dict) and len(value) == 1:
            (name,) = value
            if name in ("and", "or"):
                results = [self._true(one, scope) for one in value[name].items("conditions")]
                return all(results) if name == "and" else any(results)
            if name == "not":
                return not self._true(value[name], scope)
            if name in ("equals", "contains"):
                pair = [bare(self.fix(self.resolve(one, scope))) for one in value[name].items("two values")]
                if len(pair) != 2 or (name == "contains" and not isinstance(pair[1], list | dict | str)):
                    raise Refusal(node.place, "type", f"{name} compares two values")
                return _loose(pair[0]) == _loose(pair[1]) if name == "equals" else pair[0] in pair[1]
            found = self.fix(self.resolve(node, scope))
            if isinstance(found.value, bool):
                return found.value
            if isinstance(found.value, str) and found.value.lower() in ("true", "false"):
                return found.value.lower() == "true"
            raise Refusal(node.place, "type", f"expected a condition, found {show(found)}")
        if isinstance(value, bool):
            return value
        raise Refusal(node.place, "type", f"expected a condition, found {show(node)}")


def _loose(value: Any) -> Any:
    """Heat compares a parameter of type string with a number of the template as equal texts."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


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
    "str_replace": Resolver._str_replace,
    "str_replace_strict": Resolver._str_replace,
    "str_replace_vstrict": Resolver._str_replace,
    "str_split": Resolver._str_split,
    "list_join": Resolver._list_join,
    "list_concat": Resolver._list_concat,
    "list_concat_unique": Resolver._list_concat,
    "map_merge": Resolver._map_merge,
    "map_replace": Resolver._map_replace,
    "if": Resolver._if,
    "yaql": Resolver._yaql,
}
