"""Heat's functions of texts, lists, mappings and conditions: pure but for what the resolver they are given does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from underway.config.words import one_of, shown
from underway.importers.tripleo.nodes import Node, Refusal, bare, show
from underway.importers.tripleo.parameters import Reference, Text, joined

if TYPE_CHECKING:
    from underway.importers.tripleo.heat import Resolver, Scope


def str_replace(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """Names in a text, each by its value; longest name first, and what was put in is not looked at again."""
    fields = argument.mapping("template and params")
    if set(fields) != {"template", "params"}:
        raise Refusal(argument.place, "type", "str_replace has exactly 'template' and 'params'")
    template = resolver.resolve(fields["template"], scope)
    values = resolver.resolve(fields["params"], scope).mapping("params")
    parts: list[str | Reference] = list(
        template.value.parts if isinstance(template.value, Text) else [resolver.as_text(template)]
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
            done += [part[last : match.start()], *_pieces(resolver, values[match[0]])]
            last = match.end()
        done.append(part[last:])
    return Node(node.place, joined(done))


def _pieces(resolver: Resolver, node: Node) -> list[str | Reference]:
    if isinstance(node.value, Text):
        return list(node.value.parts)
    if isinstance(node.value, Reference):
        if node.value.parameter.kind in ("json", "comma_delimited_list"):
            node = resolver.fix(node)
        else:
            return [node.value]
    if isinstance(node.value, dict | list):
        raise Refusal(node.place, "type", f"expected text, found {show(node)}")
    return [resolver.as_text(node)]


def list_join(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """Lists as one text."""
    parts = argument.items("a separator and lists")
    if len(parts) < 2:
        raise Refusal(argument.place, "type", "list_join has a separator and at least one list")
    separator = resolver.as_text(resolver.resolve(parts[0], scope))
    pieces: list[str | Reference] = []
    for listed in parts[1:]:
        for one in _list(resolver, resolver.resolve(listed, scope), "list_join"):
            if pieces:
                pieces.append(separator)
            pieces += _pieces(resolver, one)
    return Node(node.place, joined(pieces))


def _list(resolver: Resolver, node: Node, who: str) -> list[Node]:
    found = resolver.fix(node) if isinstance(node.value, Reference) else node
    if found.value is None:
        return []
    if not isinstance(found.value, list):
        raise Refusal(node.place, "type", f"{who} expected a list, found {show(found)}")
    return found.value


def list_concat(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """Lists one after the other."""
    whole: list[Node] = []
    for one in argument.items("lists"):
        whole += _list(resolver, resolver.resolve(one, scope), "list_concat")
    return Node(node.place, whole)


def map_merge(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """Mappings over each other."""
    merged: dict[str, Node] = {}
    for one in resolver.resolve(argument, scope).items("mappings"):
        found = resolver.fix(one) if isinstance(one.value, Reference) else one
        if found.value is not None:
            merged.update(found.mapping("a mapping"))
    return Node(node.place, merged)


def map_replace(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """A mapping with other keys or values."""
    parts = argument.items("a mapping and replacements")
    if len(parts) != 2:
        raise Refusal(argument.place, "type", "map_replace has a mapping, and 'keys' or 'values'")
    source = _whole_map(resolver, parts[0], scope)
    rules = parts[1].mapping("'keys' or 'values'")
    keys = _whole_map(resolver, rules["keys"], scope) if "keys" in rules else {}
    values = _whole_map(resolver, rules["values"], scope) if "values" in rules else {}
    result: dict[str, Node] = {}
    for key, one in source.items():
        renamed = resolver.as_text(keys[key]) if key in keys else key
        replaced = values.get(one.value) if isinstance(one.value, str) else None
        result[renamed] = replaced if replaced is not None else one
    return Node(node.place, result)


def _whole_map(resolver: Resolver, node: Node, scope: Scope) -> dict[str, Node]:
    found = resolver.resolve(node, scope)
    found = resolver.fix(found) if isinstance(found.value, Reference) else found
    return {} if found.value is None else found.mapping("a mapping")


def str_split(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """A text in parts, or one of them."""
    parts = argument.items("a separator and a text")
    if len(parts) not in (2, 3):
        raise Refusal(argument.place, "type", "str_split has a separator, a text and perhaps an index")
    separator, text = (resolver.as_text(resolver.resolve(part, scope)) for part in parts[:2])
    if not separator:
        raise Refusal(argument.place, "type", "str_split has an empty separator")
    found = [Node(node.place, one) for one in text.split(separator)]
    if len(parts) == 2:
        return Node(node.place, found)
    index = parts[2].value
    if not isinstance(index, int) or index >= len(found):
        raise Refusal(parts[2].place, "type", f"the text has {len(found)} parts, and {show(parts[2])} is asked for")
    return found[index]


def choose(resolver: Resolver, node: Node, argument: Node, scope: Scope) -> Node:
    """One value or another, by a condition."""
    parts = argument.items("condition and values")
    if len(parts) not in (2, 3):
        raise Refusal(argument.place, "type", "if has a condition, a value and perhaps another")
    if _true(resolver, parts[0], scope):
        return resolver.resolve(parts[1], scope)
    return resolver.resolve(parts[2], scope) if len(parts) == 3 else Node(node.place, None)


def _true(resolver: Resolver, node: Node, scope: Scope) -> bool:
    """Whether a condition holds: a name, a function, a truth value."""
    value = node.value
    if isinstance(value, str):
        conditions = scope.template.section("conditions")
        found = conditions.get(value)
        if found is None:
            message = f"{scope.template.key} has no condition {shown(value)}"
            raise Refusal(node.place, "unknown-condition", message, one_of(value, sorted(conditions), "conditions"))
        with resolver.inside(f"{scope.template.key}?{value}", node):
            return _true(resolver, found, scope)
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        if name in ("and", "or"):
            results = [_true(resolver, one, scope) for one in value[name].items("conditions")]
            return all(results) if name == "and" else any(results)
        if name == "not":
            return not _true(resolver, value[name], scope)
        if name in ("equals", "contains"):
            pair = [bare(resolver.fix(resolver.resolve(one, scope))) for one in value[name].items("two values")]
            if len(pair) != 2 or (name == "contains" and not isinstance(pair[1], list | dict | str)):
                raise Refusal(node.place, "type", f"{name} compares two values")
            return _loose(pair[0]) == _loose(pair[1]) if name == "equals" else pair[0] in pair[1]
        found = resolver.fix(resolver.resolve(node, scope))
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


FUNCTIONS: dict[str, Callable[[Resolver, Node, Node, Scope], Node]] = {
    "str_replace": str_replace,
    "str_replace_strict": str_replace,
    "str_replace_vstrict": str_replace,
    "str_split": str_split,
    "list_join": list_join,
    "list_concat": list_concat,
    "list_concat_unique": list_concat,
    "map_merge": map_merge,
    "map_replace": map_replace,
    "if": choose,
}
"""By Heat's name: (resolver, the function's node, its argument, the template) to the value."""
