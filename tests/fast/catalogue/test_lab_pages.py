"""What scenarios write for readers: nothing that matters is left out, and the matrix is what was measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from labkit.errors import Refused
from labkit.places import PROJECT
from scenarios import killed, provenance
from scenarios.matrix import HOPS, cell, chosen, without
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
    found = cell(
        "2025.1", "2025.2", "naive", report, ["3 failed, longest outage: 4.0 s", "O1 token", "c1 is wrong"], "now"
    )
    assert found.worst is not None
    assert (found.worst.probe, found.outages, found.wrong) == ("token", 2, ["c1 is wrong"])


def test_the_page_in_the_documentation_is_what_its_figures_say() -> None:
    figures = DOCS / "matrix.json"
    if not figures.exists():
        pytest.skip("NOT RUN: no matrix was measured yet ('lab/run matrix')")
    cells = msgspec.json.decode(figures.read_bytes(), type=list[Cell])
    assert (DOCS / "matrix.md").read_text() == page(cells)


def test_hops_that_are_asked_for_again_are_the_only_ones_that_are_dropped() -> None:
    assert chosen(()) == list(HOPS)
    cells = [
        a_cell(source=source, target=target, mode=mode) for source, target in HOPS for mode in ("naive", "drained")
    ]
    asked = chosen(["2025.2:2026.1"])
    left = without(cells, asked)
    assert asked == [("2025.2", "2026.1")] and len(left) == len(cells) - 2
    assert all((one.source, one.target) != asked[0] for one in left)
    assert without(cells, chosen(())) == []


def test_a_hop_that_there_is_not_is_refused() -> None:
    with pytest.raises(Refused, match=r"there is no hop '2025.1:2027.1': expected one of 2025.1:2025.2, "):
        chosen(["2025.1:2025.2", "2025.1:2027.1"])


def test_figures_are_of_what_was_there_when_the_run_began(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@y", *words], check=True)

    (tmp_path / "src").mkdir()
    (tmp_path / "src/one.py").write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    made = provenance.begun(tmp_path)
    first = made.text.rpartition(" ")[2]
    (tmp_path / "docs.md").write_text("beside it")
    git("add", ".")
    git("commit", "-q", "-m", "two")
    assert made.told() == made.text, "what is not run may change"
    (tmp_path / "docs.md").write_text("a page that the run before wrote")
    assert not provenance.begun(tmp_path).text.endswith("-dirty")
    (tmp_path / "src/one.py").write_text("2\n")
    told = made.told()
    assert f"commit {first} when it began (its code changed meanwhile: commit " in told and told.endswith(
        "-dirty when it ended)"
    )


def test_a_step_that_ended_twice_is_counted_and_no_journal_is_no_proof(tmp_path: Path) -> None:
    assert not killed.ended(tmp_path)
    journals = tmp_path / ".underway/runs/r1/journals"
    journals.mkdir(parents=True)
    end = '{"kind": "end", "action": "control/web/c1", "step": "turn", "rc": %d}\n'
    (journals / "c1.jsonl").write_text(
        '{"kind": "begin", "action": "a", "step": "turn"}\n' + end % 1 + end % 0 + end % 0
    )
    assert killed.ended(tmp_path) == {("c1", "control/web/c1", 0, "turn"): 2}
    source = (PROJECT / "src/underway/core/rollback.py").read_text()
    assert f'f"{killed.NO_WAY_BACK}: ' in source, "the words by which a late rollback is known"


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
