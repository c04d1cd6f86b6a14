"""Other programs, and how long things took."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from labkit.errors import LabError


def say(text: str) -> None:
    """One line for the operator, at once."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say how many seconds the body took, once it is done."""
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")


def run(
    *command: str | Path,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 1200,
    hint: str = "",
) -> str:
    """Standard output of a program that must succeed.

    Raises ``LabError`` with the command, its exit code and the end of what it said; ``hint`` is added to the line.
    Secrets go by ``stdin`` or ``environment``, never by the arguments, which are shown.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin or "",
            env=None if environment is None else dict(environment),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{words[0]}: no such program{hint and '; ' + hint}") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(words)}: did not end within {timeout:.0f} s{hint and '; ' + hint}") from None
    if done.returncode:
        said = " | ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-4:])
        raise LabError(f"{' '.join(words)}: exit {done.returncode}: {said}{hint and '; ' + hint}")
    return done.stdout


def succeeds(*command: str | Path, timeout: float = 60) -> bool:
    """Whether a program ends with 0 within the time."""
    try:
        return (
            subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            ).returncode
            == 0
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
