"""The examples of a page of the documentation, run in order as a reader would.

- A ``console`` block: lines that begin with ``$ `` are commands (``> `` continues one), the lines below are what they
  print. ``...`` in a line stands for anything, a line ``...`` for any number of lines; without expected lines the
  output is free. A command that does not exit with 0 must be followed by ``$ echo $?``.
- A ``yaml`` block whose first line is ``# FILE (whole)`` is written; ``# FILE`` replaces or adds these top-level keys
  of the file (``# FILE (only shown)``: checked, then taken back). After each the cluster must load without a mistake.
- ``% $ COMMAND`` (a comment, not shown) prepares what the page takes for granted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import underway
from underway.config.load import load

TOP = Path(underway.__file__).parents[2]
BIN = TOP / ".venv/bin"
LONGEST = 600.0
"""Seconds that one command may take; the machine may be busy."""

_BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$|^% (\$ [^\n]*)$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# (?P<file>[\w./-]+)(?: \((?P<how>whole|only shown)\))?\n")


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the lines that it is to print (None: anything)."""

    text: str
    expected: tuple[str, ...] | None
    line: int
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A YAML example: a whole file, or top-level keys of one."""

    name: str
    text: str
    how: str
    line: int


Item = Command | File


def items(page: Path) -> list[Item]:
    """All examples of a page in order. Raises ValueError for a block of a language that nobody checks."""
    text = page.read_text(encoding="utf-8")
    found: list[Item] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        language, body, hidden = match[2], textwrap.dedent(match[3] or ""), match[4]
        if hidden:
            found.append(Command(hidden[2:], None, line, hidden=True))
        elif language == "console":
            found += _commands(body, line)
        elif language == "yaml":
            named = _NAMED.match(body)
            if named is None:
                raise ValueError(f"{page}:{line}: a yaml example begins with '# FILE' or '# FILE (whole)'")
            found.append(File(named["file"], body[named.end() :], named["how"] or "piece", line))
        elif language == "json":
            for part in body.strip().split("\n\n"):
                json.loads(part)
        elif language not in ("text", "", "{contents}", "{click}", "{toctree}", "{glossary}", "{image}"):
            raise ValueError(f"{page}:{line}: nobody checks a block of {language!r} (use console, yaml or text)")
    return found


def _commands(body: str, line: int) -> Iterator[Command]:
    lines = body.splitlines()
    starts = [number for number, text in enumerate(lines) if text.startswith("$ ")]
    for number, after in zip(starts, [*starts[1:], len(lines)], strict=True):
        command = lines[number][2:]
        rest = number + 1
        while rest < after and lines[rest].startswith("> "):
            command += "\n" + lines[rest][2:]
            rest += 1
        expected = tuple(text.rstrip() for text in lines[rest:after])
        yield Command(command, expected or None, line + number + 1)


def pattern(expected: tuple[str, ...]) -> re.Pattern[str]:
    """What the output must match as a whole."""
    parts = []
    for text in expected:
        if text == "...":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[^\n]*?".join(re.escape(part) for part in text.split("...")) + r"[ ]*\n")
    return re.compile("".join(parts))


class Reader:
    """Somebody who follows a page in an empty directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "cluster"
        self.home = directory / "home"
        self.directory.mkdir()
        self.home.mkdir()
        self.code = 0
        self._environment = {
            "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "USER": os.environ.get("USER", "reader"),
            "LOGNAME": os.environ.get("LOGNAME", "reader"),
            "NO_COLOR": "1",
            "COLUMNS": "80",
        }

    def follow(self, page: Path) -> int:
        """Do all that the page says; returns how many examples were tried. Raises AssertionError with its place."""
        every = items(page)
        for number, item in enumerate(every):
            place = f"{page.relative_to(TOP)}:{item.line}"
            if isinstance(item, File):
                self._file(item, place)
                continue
            printed = self._run(item, place)
            following = every[number + 1] if number + 1 < len(every) else None
            asked = isinstance(following, Command) and following.text == "echo $?"
            assert self.code == 0 or asked, f"{place}: {item.text}: exit {self.code}\n{printed}"
            if item.expected is not None:
                assert pattern(item.expected).fullmatch(printed), (
                    f"{place}: {item.text}\n--- expected\n" + "\n".join(item.expected) + f"\n--- printed\n{printed}"
                )
        return len(every)

    def _run(self, command: Command, place: str) -> str:
        # standard output and errors together, as on a terminal; a file, because a pipe would wait for background work
        output = self.directory.parent / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"(exit {self.code})\n{command.text}"],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=LONGEST)
                self.code = code if code >= 0 else 128 - code  # as a shell says it
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"{place}: {command.text}: not over after {LONGEST:g} s") from None
        return output.read_text(encoding="utf-8")

    def _file(self, item: File, place: str) -> None:
        path = self.directory / item.name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item.text if item.how == "whole" else _merged(before, item.text), encoding="utf-8")
        if not (self.directory / "cluster.yaml").exists():
            return
        if item.name == "cluster.yaml" or item.name.startswith(("services/", "releases/")):
            # raises FileProblems with the lines of the file that results
            load(self.directory / "cluster.yaml")
        if item.how == "only shown":
            path.write_text(before, encoding="utf-8") if before else path.unlink()

    def leave(self) -> None:
        """End what the page left running (the prober of a run that was not finished, what ``*.pid`` files name), by
        pid; then remove everything."""
        for file in (*self.directory.glob(".underway/runs/*/prober.pid"), *self.directory.glob("*.pid")):
            pid = int(file.read_text().split()[0])
            try:
                if b"underway" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                continue
        shutil.rmtree(self.directory, ignore_errors=True)


def _merged(before: str, piece: str) -> str:
    """A document with the top-level keys of ``piece`` in place of its own."""

    def sections(text: str) -> dict[str, str]:
        return {part.partition(":")[0]: part for part in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if part}

    return "".join({**sections(before), **sections(piece)}.values())
