"""What tasks tell operators: bounded for each step, and cut only once it is clear of secrets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from underway_runner.notices import LONGEST, MORE, MOST, Notices
from underway_runner.scrub import Scrubber

SECRET = "canary-secret-93ab"


def plain(text: str) -> str:
    return text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 70), max_size=5))
def test_a_step_tells_so_many_and_once_that_there_are_more(sizes: list[int]) -> None:
    notices = Notices()
    told = [text for size in sizes for text in notices.take([f"n{number}" for number in range(size)], plain)]
    assert len([text for text in told if text != MORE]) == min(sum(sizes), MOST)
    assert told.count(MORE) == (sum(sizes) > MOST)
    assert MORE not in told[:-1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, LONGEST + 20), st.text("xyz \n\x1b", max_size=40))
def test_no_piece_of_a_secret_is_left_at_the_cut(before: int, after: str) -> None:
    scrub = Scrubber()
    scrub.add([SECRET])
    (told,) = Notices().take(["x" * before + SECRET + after], scrub)
    assert len(told) <= LONGEST
    assert not any(SECRET[:size] in told for size in range(4, len(SECRET)))


def test_what_moves_the_cursor_is_escaped() -> None:
    assert Notices().take(["a\x1b[31mb\u202e"], plain) == ["a\\x1b[31mb\\u202e"]
