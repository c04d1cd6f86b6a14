"""Putting the runner on a host over SSH: its own python3 makes the environment, its own pip fills it."""

from __future__ import annotations

import base64
import contextlib
import importlib.resources
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from underway.core.model.cluster import Host
from underway.errors import InputError, Refused, Unreachable
from underway.executors.ssh import DEFAULT_PYTHON, SshExecutor
from underway.executors.stream import last_words
from underway.executors.wheel import Wheel

PATIENCE = 900.0
"""Seconds for one host: a slow index, a slow disk."""

BOOTSTRAP = "import json, sys; exec(json.loads(sys.stdin.readline()))"


def put_runner(
    executor: SshExecutor,
    host: Host,
    wheel: Wheel,
    wheelhouse: Path | None = None,
    python: str = "python3",
    say: Callable[[str], None] = lambda _text: None,
) -> bool:
    """Put the runner on a host; whether something was changed. ``say`` gets each step as a line for people.

    ``wheelhouse``: a directory of wheels that is carried over, for hosts without an index. ``python``: the host's
    interpreter that makes the environment. Raises Refused (nothing is changed then), Unreachable, InputError.
    """
    prefix = prefix_of(host)
    carried = {wheel.name: wheel.data} | (dict(wheels_in(wheelhouse)) if wheelhouse is not None else {})
    full = host.ansible == "host"
    request: dict[str, Any] = {
        "prefix": str(prefix),
        "name": f"{wheel.version}-{wheel.digest[:12]}{'' if full else '-attended'}",
        "version": wheel.version,
        "wheel": wheel.name,
        "wheels": {name: base64.b64encode(data).decode() for name, data in carried.items()},
        "offline": wheelhouse is not None,
        "dependencies": full,
        # Where the coordinator's Ansible works, the host needs signatures only.
        "requirements": [one for one in wheel.requirements if full or one.startswith("securesystemslib")],
    }
    script = (importlib.resources.files("underway.executors") / "put_there.py").read_text(encoding="utf-8")
    data = json.dumps(script).encode() + b"\n" + json.dumps(request).encode() + b"\n"
    last: dict[str, Any] = {}
    for said in _call(executor, host, _command(prefix, python), data, python):
        last = said
        if said.get("kind") == "step":
            say(str(said.get("text", "")))
    if last.get("kind") != "installed":
        raise Refused(f"{host.name}: {last.get('text', 'did not say how it ended')}")
    say(str(last.get("text", "")))
    return bool(last.get("changed"))


def prefix_of(host: Host) -> PurePosixPath:
    """The environment that a host's ``python`` lies in. Raises InputError if it lies in none."""
    path = PurePosixPath(host.python or DEFAULT_PYTHON)
    if (
        not path.is_absolute()
        or path.parent.name != "bin"
        or len(path.parts) < 4
        or path.name not in ("python", "python3")
    ):
        raise InputError(
            f"hosts.{host.name}.python: {str(path)!r} is not '<environment>/bin/python', so the runner cannot"
            " be put there (leave it out, or name such a place)"
        )
    return path.parent.parent


def wheels_in(directory: Path) -> Iterator[tuple[str, bytes]]:
    """The wheels of a directory. Raises InputError if there is none."""
    found = sorted(directory.glob("*.whl")) if directory.is_dir() else []
    if not found:
        raise InputError(
            f"--wheelhouse {directory}: expected a directory with wheels "
            "(make it: pip download --only-binary :all: -d DIR underway-runner)"
        )
    for path in found:
        yield path.name, path.read_bytes()


def _command(prefix: PurePosixPath, python: str) -> str:
    run = shlex.join([python, "-c", BOOTSTRAP])
    parent = shlex.quote(str(prefix.parent))
    return f'if [ "$(id -u)" = 0 ] || [ -w {parent} ]; then exec {run}; else exec sudo -n {run}; fi'


def _call(executor: SshExecutor, host: Host, command: str, data: bytes, python: str) -> Iterator[dict[str, Any]]:
    try:
        done = subprocess.run(
            executor.shell(host, command), input=data, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{host.name}: not installed within {PATIENCE:.0f} s") from None
    words = last_words(done.stderr)
    if done.returncode == 127 and not done.stdout:
        raise Refused(
            f"{host.name}: there is no {python} ({words}); install Python 3.9 or newer, or give --with-python"
        )
    if words.startswith("sudo:"):
        raise Refused(
            f"{host.name}: the user may not write there, and sudo wants a password ({words});"
            " log in as root, allow 'sudo -n', or give the host a 'python' under a directory of that user"
        )
    if not done.stdout:
        raise Unreachable(f"{host.name}: {words or f'ended with status {done.returncode}'}")
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
    if done.returncode:
        raise Refused(f"{host.name}: {words or f'python3 ended with status {done.returncode}'}")
