"""What scenarios write for readers: nothing that matters is left out, and the matrix is what was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from labkit.places import PROJECT
from scenarios.matrix import cell
from scenarios.matrix_page import Cell, Worst, page, row
from scenarios.transcript import Entry, Transcript, readable

DOCS = PROJECT / "docs"


def a_cell(**changes: object) -> Cell:
    plain = Cell(
        source="2025.1", target="2025.2", mode="drained", requests=12_345, failed=0, outages=0, worst=None,
        duration=725, server_kept=True, wrong=[], made="today",
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def test_a_row_says_what_was_measured() -> None:
    assert row(a_cell()) == (
        "| 2025.1 to 2025.2 | drained | 12,345 | 0 | 0 | none | 12 min 05 s | same, ACTIVE |"
    )  # fmt: skip
    worst = Worst(probe="token", seconds=13.5, resolution=0.5, cause="shared: everything")
    bad = row(a_cell(mode="naive", failed=566, outages=7, worst=worst, server_kept=False))
    assert "| **566** | 7 | 13.5 s ± 0.5 s (token) |" in bad
    assert "**not as before**" in bad


def test_what_is_not_as_promised_stands_on_the_page() -> None:
    assert "Not as promised" not in page([a_cell()])
    assert "2025.2, drained: nothing is due in the ledger's schema" in page(
        [a_cell(wrong=["nothing is due in the ledger's schema"])]
    )


def test_the_longest_outage_is_the_one_that_is_longest_for_certain() -> None:
    def outage(probe: str, length: float, resolution: float, host: str = "") -> dict[str, object]:
        return {
            "probe": probe,
            "length": length,
            "resolution": resolution,
            "host": host,
            "cause": "",
            "attribution": "x",
        }

    report = {
        "requests": 100, "failed": 3, "duration": 60.2,
        "outages": [outage("boot", 30.0, 30.0), outage("token", 4.0, 0.5), outage("keystone-c1", 99.0, 2.0, host="c1")],
    }  # fmt: skip
    found = cell("2025.1", "2025.2", "naive", report, ["3 failed, longest outage: 4.0 s", "O1 token", "c1 is wrong"])
    assert found.worst is not None
    assert (found.worst.probe, found.outages, found.wrong) == ("token", 2, ["c1 is wrong"])


def test_the_page_in_the_documentation_is_what_its_figures_say() -> None:
    figures = DOCS / "matrix.json"
    if not figures.exists():
        pytest.skip("NOT RUN: no matrix was measured yet ('lab/run matrix')")
    cells = msgspec.json.decode(figures.read_bytes(), type=list[Cell])
    assert (DOCS / "matrix.md").read_text() == page(cells)


def lines(*texts: str, of: int = 1) -> list[Entry]:
    return [Entry("line", text, of) for text in texts]


def usual(count: int, of: int = 1) -> list[Entry]:
    return lines(*(f"2026-11-21T14:00:{at % 60:02}.000Z claimed      a/{at}" for at in range(count)), of=of)


def test_a_short_output_is_shown_whole() -> None:
    text = readable([Entry("command", "underway status", 1), *lines("one", "two"), Entry("code", "[exit code 0]", 1)])
    assert text == "```text\n$ underway status\none\ntwo\n[exit code 0]\n```\n"


def test_of_a_long_one_the_unusual_is_shown_with_what_is_around_it() -> None:
    halted = "2026-11-21T14:01:00.000Z run-halted   n2: cannot be reached"
    text = readable([Entry("command", "underway upgrade", 1), *usual(60), *lines(halted), *usual(60)])
    assert halted in text
    assert text.count("claimed") < 30
    assert text.count("[… ") == 2
    left_out = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("[… "))
    assert left_out + text.count("claimed") == 120


def test_what_was_done_to_the_laboratory_stands_where_it_happened() -> None:
    entries = [Entry("command", "underway upgrade", 1), *usual(40), Entry("told", "c2 loses its power."), *usual(40)]
    before, after = readable(entries).split("c2 loses its power.")
    assert before.rstrip().endswith("```")
    assert "claimed" in before.splitlines()[-4]
    assert after.lstrip().startswith("```text\n2026")


def test_output_of_a_command_in_the_background_is_not_taken_for_the_last_one_s() -> None:
    entries = [
        Entry("command", "underway upgrade", 1), *lines("first"), Entry("command", "underway status", 2),
        *lines("all is well", of=2), *lines("second"),
    ]  # fmt: skip
    assert "all is well\n[the command before goes on: underway upgrade]\nsecond" in readable(entries)


def test_a_transcript_is_on_disk_as_it_comes(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "log")
    number = transcript.command("underway status")
    transcript.line("all is well", number)
    transcript.told("It stops.")
    assert (tmp_path / "log").read_text() == "$ underway status\nall is well\n## It stops.\n"
