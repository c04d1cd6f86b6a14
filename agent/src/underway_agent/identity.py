"""What an agent is: its directory, its keys, and what it was told when it was enrolled. It keeps nothing else."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from underway_agent import __version__
from underway_agent.dsse import NotSigned, load_key
from underway_agent.facts import SOURCES, facts
from underway_agent.letters import PROTOCOL

DEFAULT_DIRECTORY = "/var/lib/underway-agent"
RUNNER_SOCKET = "/run/underway-runner.sock"
DEFAULT_RUNNER = ("/opt/underway/bin/python", "-I", "-m", "underway_agent.through", RUNNER_SOCKET)


class AgentError(Exception):
    """The agent cannot run as it is; one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class Settings:
    """``agent.json``: written by enrolment, and by an administrator of the host.

    ``ticket_keys``: the keys (hexadecimal) whose word cancels a leg. ``runner``: how the runner is started.
    ``vault_password_file``: what opens the vault values of plans, kept on this host only. ``mail_root``: where letters
    lie in the server of the cluster's store. ``store``: how that is reached, for a host that is to ask there and not at
    ``url`` (as ``store`` of cluster.yaml). ``sources_directory``: where apt's sources are.
    """

    cluster: str
    host: str
    url: str
    ticket_keys: Tuple[str, ...]
    runner: Tuple[str, ...] = DEFAULT_RUNNER
    runner_directory: str = ""
    vault_password_file: str = ""
    mail_root: str = ""
    store: Mapping[str, Any] = field(default_factory=dict)
    sources_directory: str = str(SOURCES)

    @property
    def where(self) -> str:
        """Who is asked, for people."""
        return str(self.store.get("url", "")) or self.url


@dataclass(frozen=True)
class Identity:
    """An enrolled agent: its settings, with the credentials beside them."""

    directory: Path
    settings: Settings
    key: Ed25519PrivateKey = field(repr=False)
    token: str = field(repr=False)

    @property
    def authority(self) -> Optional[Path]:
        """The certificate that the coordinator's must be signed by; None over plain HTTP on one machine."""
        path = self.directory / "ca.crt"
        return path if path.exists() else None

    def vault_password(self) -> Optional[str]:
        """The first line of the file that the settings name; None for no file. Raises AgentError."""
        if not self.settings.vault_password_file:
            return None
        return read_private(Path(self.settings.vault_password_file)).split("\n", 1)[0]


def load(directory: Path) -> Identity:
    """The agent of a directory. Raises AgentError."""
    path = directory / "agent.json"
    try:
        said: Dict[str, Any] = json.loads(path.read_bytes())
        said["ticket_keys"], said["runner"] = tuple(said["ticket_keys"]), tuple(said["runner"])
        settings = Settings(**said)
        return Identity(
            directory, settings, load_key(directory / "host.key"), read_private(directory / "token").strip()
        )
    except FileNotFoundError as error:
        raise AgentError(
            f"{error.filename}: no such file: this host is not enrolled ('underway host enrol HOST' where the cluster"
            " is run from shows the command)"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise AgentError(f"{path}: cannot be understood: {error} (enrol the host again)") from None
    except (NotSigned, OSError) as error:
        raise AgentError(str(error)) from None


def save(directory: Path, settings: Settings) -> None:
    """Write ``agent.json``, durably."""
    write_private(directory / "agent.json", json.dumps(asdict(settings), indent=1) + "\n")


def read_private(path: Path) -> str:
    """The text of a file that only its owner can read. Raises AgentError, OSError."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise AgentError(f"{path}: others can read it (mode {mode:04o}; chmod 600 it)")
        return file.read(65536).decode()


def write_private(path: Path, text: str) -> None:
    """Put a file of mode 0600 in the place of the one there, whole and durable."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def boot_id() -> str:
    """The kernel's name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def uptime() -> float:
    """Seconds since boot, those in suspension too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def hello(settings: Settings, runner: Dict[str, Any]) -> bytes:
    """What an agent says of itself when it begins; ``runner`` is the answer to a ping."""
    said = {
        "protocol": PROTOCOL, "cluster": settings.cluster, "host": settings.host, "agent": __version__,
        "runner": str(runner.get("version", "")), "enrolled": bool(runner.get("enrolled")), "boot": boot_id(),
        "keys": int(runner.get("trust", 0)), "facts": facts(Path(settings.sources_directory)),
    }  # fmt: skip
    return json.dumps(said, sort_keys=True).encode()
