"""Where figures come from: the day, the machine, the commit, taken when a run begins; and what changed before it ended.

Others may work in the work tree while hosts are upgraded for an hour: what is there at the end was not measured.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labkit.places import PROJECT

RUN = ("src", "runner", "agent", "lab")
"""What a run runs; documentation and tests may change meanwhile."""


@dataclass(frozen=True)
class Provenance:
    """What was there at the beginning. ``code``: a digest of all files that a run runs."""

    text: str
    commit: str
    code: str
    project: Path = PROJECT

    def told(self) -> str:
        """For a page, at the end of the run: with a word where the code is not as it was at the beginning."""
        if _code(self.project) == self.code:
            return self.text
        return f"{self.text} when it began (its code changed meanwhile: commit {_commit(self.project)} when it ended)"


def begun(project: Path = PROJECT) -> Provenance:
    """What is there now: when, on how many processors, with which commit."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()  # noqa: TID251  a page says when it was made
    commit = _commit(project)
    return Provenance(f"{day}, {os.cpu_count()} processors, commit {commit}", commit, _code(project), project)


def _git(project: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False).stdout


def _commit(project: Path) -> str:
    """The commit, and whether what is run differs from it: the page of the run before may not be committed yet."""
    changed = "-dirty" if _git(project, "status", "--porcelain", "--", *RUN).strip() else ""
    return (_git(project, "describe", "--always").strip() or "unknown") + changed


def _code(project: Path) -> str:
    listed = _git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *RUN)
    digest = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {""}):
        digest.update(name.encode())
        try:
            digest.update(hashlib.sha256((project / name).read_bytes()).digest())
        except OSError:
            digest.update(b"gone")
    return digest.hexdigest()
