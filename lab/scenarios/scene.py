"""An upgrade in which something is broken on purpose, and what its operator sees and does: told as a transcript."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

from labkit.errors import LabError
from labkit.places import PROJECT
from labkit.remote import on
from scenarios import hop, judge, story
from scenarios.hop import Hop, Result
from scenarios.judge import Verdict
from scenarios.operator import Running

DONE, HALTED, REFUSED = 0, 1, 3
"""Exit codes of ``underway upgrade``."""


class Scene:
    """What a story is told with: each of its verbs is done, and noted."""

    def __init__(self, stage: Hop, given: argparse.Namespace) -> None:
        self.stage = stage
        self.given = given
        self.found: list[Verdict] = []
        self._hands = stage.hands
        self.begins = len(stage.hands.transcript.entries)  # what was typed before is the same in every story

    def told(self, text: str) -> None:
        """A sentence for the reader."""
        self._hands.transcript.told(text)

    def start(self, *words: str) -> Running:
        """A command of Underway, in the background."""
        return self._hands.start(*words)

    def upgrade(self) -> Running:
        """Begin the upgrade, in the background."""
        return self.start("upgrade", "plan.json", "--yes", "--plain")

    def underway(self, *words: str, good: tuple[int, ...] = (0,)) -> int:
        """A command of Underway, to its end; the exit code. Raises ``LabError`` for one that is not ``good``."""
        return self._hands.underway(*words, good=good)

    def go_on(self) -> int:
        """Go on with the run, to its end; the exit code."""
        return self.underway("upgrade", "--yes", "--plain", good=(0, 1, 4))

    def lab(self, *words: str) -> None:
        """A command of the laboratory's own."""
        number = self._hands.transcript.command(f"lab/run {' '.join(words)}")
        done = subprocess.run(
            [sys.executable, "-m", "labkit", *words],
            cwd=PROJECT / "lab",
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        for line in (done.stdout + done.stderr).splitlines():
            self._hands.transcript.line(line, number)
        if done.returncode:
            raise LabError(f"'lab/run {' '.join(words)}' ended with exit code {done.returncode}")

    def on(self, host: str, script: str) -> str:
        """A command on a host, and what it says."""
        number = self._hands.transcript.command(f"lab/run ssh {host} {script}")
        said = on(self.stage.here, host, script)
        for line in said.splitlines():
            self._hands.transcript.line(line, number)
        return said

    def expect(self, good: bool, text: str) -> None:
        """Something that the story promises beside what every upgrade does."""
        self.found.append(Verdict(good, text))

    def troubled(self) -> list[str]:
        """Hosts whose work failed, or of which nobody can tell, by the run's own report."""
        self._hands.underway("report")
        return [
            host["host"]
            for host in judge.read(self.stage.home)["hosts"]
            if any(action["state"] in ("failed", "unknown") for action in host["actions"])
        ]


def main(
    name: str,
    what: str,
    told: Callable[[Scene], None],
    *,
    faultless: bool = False,
    conclude: Callable[[Hop], Result] | None = None,
    **more: int,
) -> int:
    """A story's command line. ``faultless``: no request may fail for all that; ``more``: numbers with defaults.

    ``conclude`` judges the end; without it, it must be that of an upgrade.
    """

    def add(parser: argparse.ArgumentParser) -> None:
        for option, default in more.items():
            parser.add_argument(f"--{option}", type=int, default=default, help="default: %(default)s")
        parser.add_argument("--write", action="store_true", help="write it to docs/scenarios, for readers")

    def play(given: argparse.Namespace) -> list[Verdict]:
        with _played(name, given) as scene:
            told(scene)
            end = conclude(scene.stage) if conclude else hop.concluded(scene.stage, faultless=faultless)
            scene.found += end.verdicts
        entries = scene.stage.hands.transcript.entries[scene.begins :]
        story.write(scene.stage, name, what, scene.found, end.report, entries, docs=given.write)
        return scene.found

    return hop.command(name, what, play, add)


@contextlib.contextmanager
def _played(name: str, given: argparse.Namespace) -> Iterator[Scene]:
    with hop.ready(name, given.to, fresh=not given.as_it_is) as stage:
        yield Scene(stage, given)
