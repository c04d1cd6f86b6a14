"""YAML with places: scalars, both parsers, and that no input gives anything but problems."""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from underway.config.located import Document, parse
from underway.errors import FileProblems

PARSERS = [pytest.param(False, id="libyaml"), pytest.param(True, id="pure")]


def test_libyaml_is_there() -> None:
    """Else the cases called libyaml would test the pure parser twice."""
    assert yaml.__with_libyaml__


def _said(data: str | bytes, pure: bool = False) -> list[str]:
    raw = data if isinstance(data, bytes) else data.encode()
    try:
        return [str(one) for one in parse(raw, "f.yaml", pure=pure).problems]
    except FileProblems as error:
        return [str(one) for one in error.problems]


@pytest.mark.parametrize("pure", PARSERS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes_", "yes_"), ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"),
        ("0b11", "0b11"), ("0o17", 15), ("0x1F", 31), ("-12", -12), ("+12", 12), ("0", 0), ("1.50", 1.5), ("1e3", 1000.0),
        (".5", 0.5), ("5.", 5.0), ("+", "+"), ("~", None), ("null", None), ("Null", None), ("nULL", "nULL"),
        ("true", True), ("False", False), ("tRUE", "tRUE"), ("'null'", "null"), ('"5"', "5"), ("'0644'", "0644"),
        ("|\n  a\n  b", "a\nb\n"), (">-\n  a\n  b", "a b"), ("9223372036854775807", 2**63 - 1), ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"), ("=", "="), ("[]", []), ("{}", {}), ("[1, {b: c}]", [1, {"b": "c"}]), ("y", "y"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any, pure: bool) -> None:
    """The core schema of YAML 1.2."""
    doc = parse(f"a: {text}\n".encode(), "f.yaml", pure=pure)
    assert doc.problems == []
    assert doc.value == {"a": value}
    assert type(doc.value["a"]) is type(value)


@pytest.mark.parametrize("pure", PARSERS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 0644", "f.yaml:1:4: '0644' is octal to YAML 1.1 (and Ansible) and decimal to YAML 1.2 (put it in quotes"),
        ("a: -08", "f.yaml:1:4: '-08' is octal to YAML 1.1"),
        ("a: 9223372036854775808", "f.yaml:1:4: '9223372036854775808' does not fit into 64 bits (put it in quotes)"),
        ("a: " + "9" * 5000, f"f.yaml:1:4: '{'9' * 60}…' does not fit into 64 bits"),
        ("a: NO", "f.yaml:1:4: warning: NO without quotes is the text 'NO' here (YAML 1.2), but true or false to YAML 1.1"),
        ("? [a]\n: 1", "f.yaml:1:3: a key must be one word, found a list, a mapping or an alias"),
        ("? {a: 1}\n: 1", "f.yaml:1:3: a key must be one word"),
        ("~: 1", "f.yaml:1:1: a key is empty (give it a name before the ':')"),
        ("? &x a\n: 1", "f.yaml:1:3: a key has neither anchor nor tag"),
        ("? !!str a\n: 1", "f.yaml:1:3: a key has neither anchor nor tag"),
        ("a: @x", "f.yaml:1:4: not YAML: '@' cannot begin a value (put the value in quotes)"),
        ("a: b: c", "f.yaml:1:5: not YAML: a ':' where no key can be"),
        ("a: 'x\nb: 1", "f.yaml:1:4: not YAML: the quote that opens here is never closed (close it)"),
        ("a:\n\tb: 1", "f.yaml:2:1: a tab indents this line; YAML knows spaces only (replace the tab by spaces)"),
        ("a: [1\nb: 2", "f.yaml:2:2: not YAML: "),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document starts here"),
        ("a: {b: 1, b: 2}", "f.yaml:1:11: key 'b' stands twice: here and at line 1"),
        ("a: " + "[" * 33 + "]" * 33, "f.yaml:1:35: nested deeper than 32 levels"),
        ("? a\n: 1\n'a': 2", "f.yaml:3:1: key 'a' stands twice: here and at line 1"),
    ],
)  # fmt: skip
def test_refused(text: str, said: str, pure: bool) -> None:
    assert _said(text, pure)[0].startswith(said)


def test_quoted_keys_are_text() -> None:
    """``1`` and ``"1"`` are one key: keys are text, as written."""
    assert parse(b"2025.2: a\n1: b\non: c\n", "f").value == {"2025.2": "a", "1": "b", "on": "c"}
    assert _said('1: a\n"1": b')[0].startswith("f.yaml:2:1: key '1' stands twice")


def test_all_structural_mistakes_at_once() -> None:
    """What does not stop the parser does not hide what follows."""
    text = "a: &x 1\nb: *x\nc: !!int 3\nd: 010\nd: 2\n<<: {}\ne: .nan\n"
    assert [line.split(": ")[0] for line in _said(text)] == [
        "f.yaml:1:4", "f.yaml:2:4", "f.yaml:3:4", "f.yaml:4:4", "f.yaml:5:1", "f.yaml:6:1", "f.yaml:7:4",
    ]  # fmt: skip


@pytest.mark.parametrize("pure", PARSERS)
def test_places(pure: bool) -> None:
    """Every key and value has its line and column, counted from 1."""
    doc = parse("a: 1\nb:\n  - x\n  - {c: ü, d: [e]}\nüü: 'z'\n".encode(), "f", pure=pure)
    assert doc.place(("a",)) == (1, 4)
    assert doc.place(("a",), "key") == (1, 1)
    assert doc.place(("b", 1, "d", 0)) == (4, 16)
    assert doc.place(("b", 1, "d"), "key") == (4, 12)
    assert doc.place(("üü",)) == (5, 5)
    assert doc.place(("b", 1, "nothing", "below")) == (4, 5)  # as near as the file gets
    assert doc.place(("nothing",)) == (1, 1)
    assert doc.problem(("b", 1, "d", 0), "x", "m").field == "b[1].d[0]"


def _strings(value: Any) -> Any:
    """What PyYAML's own loader makes of a document without resolving scalars: the reference for structure."""
    return yaml.load(value, Loader=yaml.BaseLoader)  # builds text, lists and mappings only


def _as_text(doc: Document) -> Any:
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(one) for key, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return walk(doc.value)


_NAMES = st.text("abcdefgh", min_size=1, max_size=4)
_TREES = st.recursive(
    st.text("abcdefgh :#'\"{}[]\\\n-é", max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_NAMES, inside, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_NAMES, _TREES, min_size=1, max_size=4), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_structure_is_what_yaml_says(tree: dict[str, Any], flow: bool, pure: bool) -> None:
    """What PyYAML writes with everything quoted is read back to the letter."""
    text = yaml.dump(tree, default_flow_style=flow, default_style='"', allow_unicode=True, width=10**6)
    text = text.replace('!!null "null"', '""')
    doc = parse(text.encode(), "f", pure=pure)
    assert doc.problems == []
    assert _as_text(doc) == _strings(text) == tree


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes, pure: bool) -> None:
    """Whatever the bytes are: a document, or problems with places in the file."""
    _any(data, pure)


_YAMLISH = st.text(st.sampled_from("ab:- \n\t#'\"{}[],&*!|>?%@`~<=0123.\\é\u2028\ufeff\x85"), max_size=60)


@given(_YAMLISH, st.booleans())
@settings(max_examples=600, deadline=None)
def test_any_text(text: str, pure: bool) -> None:
    _any(text.encode(), pure)


def _any(data: bytes, pure: bool) -> None:
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80\xa8") + 2
    try:
        found = parse(data, "f", pure=pure).problems
    except FileProblems as error:
        found = list(error.problems)
        assert found
    for problem in found:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert str(problem).isprintable()


@given(_YAMLISH)
@example("? 0")
@settings(max_examples=300, deadline=None)
def test_both_parsers_agree(text: str) -> None:
    """Where both read a text, they read the same, at the same places."""

    def run(pure: bool) -> Document | None:
        try:
            return parse(text.encode(), "f", pure=pure)
        except FileProblems:
            return None

    fast, slow = run(False), run(True)
    if fast is not None and slow is not None and not fast.problems and not slow.problems:
        assert fast.value == slow.value
        assert fast.marks == slow.marks
