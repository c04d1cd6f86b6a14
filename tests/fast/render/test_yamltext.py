"""The writer: what it writes is read back to the same value, by both of PyYAML's readers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from underway.errors import InputError
from underway.render.yamltext import WIDTH, Tagged, block, document


class Reader(yaml.SafeLoader):
    """Reads our two tags back."""


class FastReader(yaml.CSafeLoader):
    """The same over libyaml, which is what Ansible reads with."""


for reader in (Reader, FastReader):
    for tag in ("!unsafe", "!vault"):
        reader.add_constructor(tag, lambda loader, node, tag=tag: Tagged(tag, node.value))  # type: ignore[misc]

words = st.sampled_from(
    [
        "a", "b c", "yes", "No", "null", "~", "1", "0o7", "1e3", "1:30", "2026-01-01", "-", "#", "a: b", "{{ x }}", "'",
        '"', "\\", "%", "@", "`", "!x", "&a", "*a", "|", ">", "=", "<<", "\n", "\n\n", " ", "  ", "\t", "\r", "\x85",
        "\u2028", "\ufeff", "é", "🚢", "\x00", "\x7f", "word " * 40, "- x", "? y", "[", "]", ",", "...", "---", "x:",
        ":x", "/a b",
    ]
)  # fmt: skip
texts = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(words, max_size=6).map("".join))
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
        st.builds(Tagged, st.sampled_from(["!unsafe", "!vault"]), texts),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def same(one: Any, two: Any) -> bool:
    """Equal, and of the same types (1 is not True is not 1.0)."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return set(one) == set(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@settings(max_examples=200, deadline=None)
@given(values)
@example({"a": [[], {}, [[1]], [{"b": {}}]]})
@example({"k" * 130: "v" * 200, "x": "word " * 60 + "end"})
@example(["x\n\ny\n", "x\n\n", " x\ny", "x\n y", "x \ny", "\n", "x\ny"])
@example([1e16, 1e-7, 5e-324, 0.1, -0.0, 10**400])
def test_what_is_written_is_read_back(value: Any) -> None:
    data = document(value)
    for reader in (Reader, FastReader):
        assert same(yaml.load(data, reader), value), data


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(texts, values, min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert document(value) == document(dict(reversed(value.items())))


def test_it_reads_as_a_person_would_write_it() -> None:
    task = {
        "register": "found",
        "ansible.builtin.command": {"argv": ["{{ venv }}/bin/x", "--all"], "chdir": "/srv"},
        "when": 'found is defined and x == "it\'s"',
        "name": "Ask for the version",
        "vars": {"note": "one\ntwo\n", "empty": {}, "none": [], "mode": "0600", "on": True},
    }
    assert block([task], 2) == (
        "  - name: Ask for the version\n"
        "    ansible.builtin.command:\n"
        "      argv:\n"
        '        - "{{ venv }}/bin/x"\n'
        '        - "--all"\n'
        "      chdir: /srv\n"
        "    register: found\n"
        "    vars:\n"
        "      empty: {}\n"
        '      mode: "0600"\n'
        "      none: []\n"
        "      note: |\n"
        "        one\n"
        "        two\n"
        '      "on": true\n'
        "    when: 'found is defined and x == \"it''s\"'\n"
    )


def test_long_text_is_folded_where_it_can_be() -> None:
    written = document({"text": "a few words " * 30 + "end", "rest": "x" * 300}).decode()
    long = [line for line in written.splitlines() if len(line) > WIDTH]
    assert long == [f'rest: "{"x" * 300}"'], "only what has no blank to break at is longer"
    assert "text: >-" in written


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        document({"a": {1}})
    with pytest.raises(InputError, match="too long"):
        document({"k" * 1000: 1})
