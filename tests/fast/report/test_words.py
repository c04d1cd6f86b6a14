"""Foreign text loses what could deceive a reader; figures are spelt one way."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underway.core import words

SPITEFUL = [
    ("plain", "plain"),
    ("a\x1b[31mred\x1b[0m", "ared"),
    ("\x1b]0;title\x07after", "after"),
    ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x9b2Jcleared", "cleared"),
    ("unfinished \x1b]0;keeps its text", "unfinished 0;keeps its text"),
    ("line\r\nover\ttab", "line over tab"),
    ("\u202egnp.exe\u202c", "gnp.exe"),
    ("\u2066isolate\u2069", "isolate"),
    ("nul\x00 del\x7f bell\x07", "nul del bell"),
    ("lone \ud800 surrogate", "lone  surrogate"),
    ("é 日本 ✓ 👩‍🚀", "é 日本 ✓ 👩‍🚀"),
]


@pytest.mark.parametrize(("text", "wanted"), SPITEFUL)
def test_control_and_bidi_characters_are_stripped(text: str, wanted: str) -> None:
    assert words.clean(text) == wanted


@given(st.text(alphabet=st.characters(codec=None)))
def test_clean_text_is_printable_encodable_and_stable(text: str) -> None:
    once = words.clean(text)
    assert words.clean(once) == once
    once.encode("utf-8")
    assert not [c for c in once if unicodedata.category(c) == "Cc" or unicodedata.bidirectional(c) in BIDI]


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (0, "0 s"), (0.12, "120 ms"), (0.9999, "1.0 s"), (9.96, "10 s"), (38, "38 s"), (59.6, "1 min"),
        (252, "4 min 12 s"), (3599.6, "1 h"), (7500, "2 h 5 min"), (90_000, "1 d 1 h"), (None, "not known"),
        (-3, "-3.0 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, wanted: str) -> None:
    assert words.duration(seconds) == wanted


@pytest.mark.parametrize(
    ("part", "whole", "wanted"),
    [(100, 100, "100 %"), (99.9999, 100, "99.999 %"), (50, 100, "50.0 %"), (0, 100, "0.0 %"), (0, 0, "not observed")],
)
def test_a_share_is_never_rounded_up_to_all(part: float, whole: float, wanted: str) -> None:
    assert words.share(part, whole) == wanted


@given(st.text(max_size=300), st.integers(20, 100))
def test_folded_lines_fit(text: str, width: int) -> None:
    assert all(len(line) <= width for line in words.fold(text, width, "  ", "    "))


def test_a_figure_stays_with_its_unit() -> None:
    assert words.fold("it took 34 s", 10) == ["it took", "34 s"]
