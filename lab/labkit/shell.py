"""Other programs, and how long things took."""

from __future__ import annotations

import contextlib
import os
import re
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
    Secrets go by ``stdin`` or ``environment``, never by the arguments, which are shown; what is shown has been through
    ``shown`` all the same, since programs repeat addresses that they were given.
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
        text = f"{' '.join(words)}: did not end within {timeout:.0f} s{hint and '; ' + hint}"
        raise LabError(shown(text, os.environ if environment is None else environment)) from None
    if done.returncode:
        said = " | ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-4:])
        text = f"{' '.join(words)}: exit {done.returncode}: {said}{hint and '; ' + hint}"
        raise LabError(shown(text, os.environ if environment is None else environment))
    return done.stdout


_ACCOUNT = re.compile(r"(?<=://)\S*@")
_SECRET = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIAL|_KEY$", re.IGNORECASE)


def shown(text: str, environment: Mapping[str, str]) -> str:
    """A text without the accounts of addresses in it, and without what secret variables of an environment hold."""
    secrets = {value for name, value in environment.items() if _SECRET.search(name) and len(value) > 3}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _ACCOUNT.sub("***@", text)


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
