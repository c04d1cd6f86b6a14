"""One Heat template: what of it says how a service is upgraded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from underway.config.words import shown
from underway.importers.tripleo.nodes import Node, Refusal
from underway.importers.tripleo.parameters import Parameter, declared

LISTS = (
    "upgrade_batch_tasks",
    "pre_upgrade_rolling_tasks",
    "fast_forward_upgrade_tasks",
    "fast_forward_post_upgrade_tasks",
    "upgrade_tasks",
    "post_upgrade_tasks",
    "external_upgrade_tasks",
)
"""The lists of tasks that are imported, in the order in which they run."""

NONE = "OS::Heat::None"
"""The resource type of a service that is absent."""


@dataclass(slots=True)
class Template:
    """A template that was read; ``key`` is its path below the directory of templates, ``/`` between the parts."""

    key: str
    root: Node
    _parameters: dict[str, Parameter] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Node]:
        """``parameters``, ``resources``, ``conditions`` or ``outputs``; empty where the template has none."""
        found = self.root.get(name) if isinstance(self.root.value, dict) else None
        if found is None or found.value is None:
            return {}
        if not isinstance(found.value, dict):
            found.mapping(f"a mapping of {name}")
        return _Checked(found)

    def parameter(self, name: str) -> Parameter | None:
        """A parameter that the template declares, or None."""
        if name not in self._parameters:
            node = self.section("parameters").get(name)
            if node is None:
                return None
            self._parameters[name] = declared(name, node)
        return self._parameters[name]

    @property
    def stem(self) -> str:
        """The name of the file without its endings: ``cinder-api``."""
        return self.key.rpartition("/")[2].removesuffix(".yaml").removesuffix(".j2")

    @property
    def version(self) -> str:
        """``heat_template_version``: a release of OpenStack, or a date."""
        found = self.root.get("heat_template_version") if isinstance(self.root.value, dict) else None
        return str(found.value) if found is not None else ""

    def value(self) -> Node | None:
        """The node of ``outputs.role_data.value``, or None where this is no service."""
        role_data = self.section("outputs").get("role_data")
        if role_data is None or not isinstance(role_data.value, dict):
            return None
        return role_data.get("value")

    def lists(self) -> dict[str, Node]:
        """The lists of tasks by their key, unresolved. Raises ``Refusal`` where one stands twice."""
        value = self.value()
        if value is None or not isinstance(value.value, dict):
            return {}
        found = {key: value.get(key) for key in LISTS}
        return {key: node for key, node in found.items() if node is not None}


class _Checked(Mapping[str, Node]):
    """A mapping of nodes that refuses a key with two values when it is asked for it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getitem__(self, key: str) -> Node:
        found = self._node.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._node.value)

    def __len__(self) -> int:
        return len(self._node.value)


class Library(Protocol):
    """The templates that there are."""

    def template(self, key: str) -> Template | None:
        """A template by its path below the directory; None where there is none. Raises ``FileProblems``."""

    def file(self, key: str) -> str | None:
        """The text of another file there (``get_file``); None where there is none."""


def beside(key: str, path: str, node: Node) -> str:
    """The key of ``path`` as the template ``key`` names it. Raises ``Refusal`` where it leads out of the directory."""
    parts = key.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise Refusal(node.place, "outside", f"{shown(path)} leads out of the directory of templates")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
