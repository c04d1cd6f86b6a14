"""Damaged files give problems with places, or a cluster; never anything else."""

# ruff: noqa: E501

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast.config.workspace import AGENT, API, CLUSTER, DB, RELEASE
from underway.config.load import load
from underway.core.model.base import canonical
from underway.errors import FileProblems

FILES = {
    "cluster.yaml": CLUSTER.replace(
        "policy:\n", "groups:\n  g: {roles: [compute]}\npolicy:\n  windows: [daily 1:00-2:00]\n"
    ),
    "services/api.yaml": API.replace(
        "phases:", "vars: {p: 80}\nprobes:\n  a: {http: 'http://{address}:{p}/'}\nphases:"
    ),
    "services/db.yaml": DB,
    "services/agent.yaml": AGENT,
    "releases/2.0.yaml": RELEASE + "checks:\n  - {check: x, service: api, task: {debug: }}\n",
}


def _load(files: dict[str, str | bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for path, text in files.items():
            (directory / path).parent.mkdir(exist_ok=True)
            (directory / path).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            inputs = load(directory)
        except FileProblems as error:
            assert any(problem.severity == "error" for problem in error.problems)
            for problem in error.problems:
                assert str(problem).isprintable()
                assert problem.message
                assert problem.code
        else:
            canonical(inputs.cluster)  # whatever is accepted can be stored
            assert all(problem.severity == "warning" for problem in inputs.problems)


_PIECES = st.sampled_from(
    ["", " ", "\n", "  ", "- ", ": ", "[", "]", "{", "}", "null", "~", "true", "0", "-1", "1.5", "x", "'", '"', "!vault ", "&a ",
     "*a", "{{ x }}", "{host}", "é", "\u202e", "\t", "services", "limit: 1", "[[]]", "{a: {b: [c]}}", "#", "|", "10%", "'10%'"]
)  # fmt: skip


@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.integers(0, 12), _PIECES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_text(name: str, where: int, cut: int, piece: str) -> None:
    """A piece of a valid file replaced by another."""
    text = FILES[name]
    at = where % len(text)
    _load({**FILES, name: text[:at] + piece + text[at + cut :]})


_VALUES: Any = st.sampled_from(
    [None, True, 0, -1, 3, 1.5, "", "x", "10%", "5m", [], ["x"], [None], [[]], [{}], {}, {"x": None}, {"x": {}}, {"": 1},
     {"x": [1]}, "\x1b", "é", "x" * 300, ["api", "api"], {"api": 1}, "{nothing}", {"__ansible_vault": 5}, "1.0", "all"]
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        found += _places(inside, (*path, key))
    return found


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 10**6), _VALUES), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_trees(name: str, changes: list[tuple[int, Any]]) -> None:
    """Values of another type, anywhere in a valid file."""
    tree = yaml.load(FILES[name], Loader=yaml.SafeLoader)
    places = _places(tree)
    for where, value in changes:
        path = places[where % len(places)]
        holder = tree
        for key in path[:-1]:
            if not isinstance(holder, dict | list) or (isinstance(holder, dict) and key not in holder):
                break
            if isinstance(holder, list) and not (isinstance(key, int) and key < len(holder)):
                break
            holder = holder[key]
        else:
            if isinstance(holder, dict) or (
                isinstance(holder, list) and isinstance(path[-1], int) and path[-1] < len(holder)
            ):
                holder[path[-1]] = value
    _load({**FILES, name: yaml.safe_dump(tree, allow_unicode=True, default_flow_style=True, width=10**6)})


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_any_bytes_in_any_file(name: str, data: bytes) -> None:
    _load({**FILES, name: data})
