"""``underway-agent install``: user, directory and units of the agent, on this host or in an image's tree.

The network-facing agent gets no right but to call the runner, so everything that is run as root for it must be root's
alone: the installation's own tree is looked at before anything is written. The same again changes nothing.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from underway_agent.identity import DEFAULT_DIRECTORY, AgentError

PREFIX = "/opt/underway"
"""The environment that the units name."""

USER = "underway-agent"

SHIPPED = Path(__file__).with_name("shipped")

UNITS = ("underway-runner.socket", "underway-runner@.service", "underway-agent.service")
"""In this order: what is there already when a unit is written must be enough to start it."""

PLACE = "/etc/systemd/system"
MODE = 0o644


def install(root: Path) -> List[str]:
    """Install the agent in the tree at ``root`` (``/``: on this host); what was done, a line each. Raises AgentError.

    Nothing is written before everything that can be checked was.
    """
    if os.geteuid() != 0:
        raise AgentError("install: only root can do that (sudo underway-agent install)")
    if not root.is_dir():
        raise AgentError(f"--root {root}: no such directory")
    for stranger in not_of_root(root):
        raise AgentError(
            f"{stranger}: the agent's host would run what lies there as root, and others than root may change it"
            f" (chown -R root:root {PREFIX}; chmod -R go-w {PREFIX})"
        )
    _need_programs(root)
    said = [_user(root)]
    uid, gid = _ids(root) or _lost()
    said.append(_directory(root, uid, gid))
    said += [_write(root, name) for name in UNITS]
    if root == Path("/") and Path("/run/systemd/system").is_dir():
        _call(["systemctl", "daemon-reload"])
    return said


def not_of_root(root: Path) -> Iterator[Path]:
    """What of the installation, and of the ways to it, others than root can change; a link's own mode says nothing."""
    ways = ("opt", "etc", "etc/systemd", "etc/systemd/system")
    above = [root / Path(PREFIX).relative_to("/"), *(root / way for way in ways)]
    for path in above:
        if path.exists() and _is_open(path.stat()):
            yield path
    for directory, directories, files in os.walk(above[0]):
        for name in (*directories, *files):
            path = Path(directory, name)
            found = path.lstat()
            if found.st_uid != 0 or (not stat.S_ISLNK(found.st_mode) and _is_open(found)):
                yield path


def _is_open(found: os.stat_result) -> bool:
    return found.st_uid != 0 or bool(found.st_mode & 0o022)


def _need_programs(root: Path) -> None:
    there = root / Path(PREFIX).relative_to("/")
    for name in ("python", "underway-agent"):
        if not os.path.lexists(there / "bin" / name):
            raise AgentError(
                f"{there}/bin/{name}: no such file: put the programs there first (python3 -m venv {PREFIX} &&"
                f" {PREFIX}/bin/pip install underway-runner underway-agent)"
            )
    if not any(there.glob("lib*/python*/site-packages/underway_runner/__main__.py")):
        raise AgentError(f"{there}: holds no runner ({PREFIX}/bin/pip install underway-runner)")


def _ids(root: Path) -> Optional[Tuple[int, int]]:
    """User and group of the agent in the tree's own list of users."""
    try:
        lines = (root / "etc/passwd").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise AgentError(f"{root}/etc/passwd: no such file: not the tree of a system") from None
    found: Dict[str, List[str]] = {line.split(":")[0]: line.split(":") for line in lines}
    entry = found.get(USER)
    return None if entry is None else (int(entry[2]), int(entry[3]))


def _lost() -> Tuple[int, int]:
    raise AgentError(f"useradd made no user {USER}")


def _user(root: Path) -> str:
    if ids := _ids(root):
        if ids[0] == 0:
            raise AgentError(f"user {USER} is root by another name: the agent must be nobody (userdel {USER})")
        return f"user {USER}: as it is"
    _call(
        [
            "useradd", *([] if root == Path("/") else ["--prefix", str(root)]), "--system", "--user-group",
            "--home-dir", DEFAULT_DIRECTORY, "--no-create-home", "--shell", "/usr/sbin/nologin", USER,
        ]
    )  # fmt: skip
    return f"user {USER}: made"


def _directory(root: Path, uid: int, gid: int) -> str:
    path = root / Path(DEFAULT_DIRECTORY).relative_to("/")
    if path.is_symlink():
        raise AgentError(f"{path}: is a link; expected a directory of the agent's own")
    was = path.exists()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(0o700)
    return f"{DEFAULT_DIRECTORY}: {'as it is' if was else 'made'}, of {USER} alone"


def _write(root: Path, name: str) -> str:
    """Put a unit in its place as a whole."""
    place = f"{PLACE}/{name}"
    path = root / Path(place).relative_to("/")
    wanted = (SHIPPED / name).read_bytes()
    there = path.is_file() and not path.is_symlink() and path.read_bytes() == wanted
    if there and stat.S_IMODE(path.stat().st_mode) == MODE and path.stat().st_uid == 0:
        return f"{place}: as it is"
    was = path.exists()
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(wanted)
        os.fchown(out.fileno(), 0, 0)
        os.fchmod(out.fileno(), MODE)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    return f"{place}: {'replaced' if was else 'written'}"


def _call(command: List[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise AgentError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().replace("\n", "; ")
        raise AgentError(f"{' '.join(command)}: {words or f'ended with status {done.returncode}'}")


def following(root: Path) -> List[str]:
    """What is to be done next, for people."""
    return [
        "next:" if root == Path("/") else "on the host, once it runs:",
        "  systemctl enable --now underway-runner.socket",
        f"  runuser -u {USER} -- {PREFIX}/bin/underway-agent enrol --url https://HOST:8440",
        "  systemctl enable --now underway-agent",
    ]
