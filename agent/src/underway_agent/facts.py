"""What a host's agent says of its machine: facts that an operator asks for, and nothing secret."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any, Dict

SOURCES = Path("/etc/apt/sources.list.d")
"""Where the catalogue's service apt-packages writes the repositories of a release."""

MOST = 32
LARGEST = 16 * 1024
"""Files that are read, and bytes of one."""

_FILE = re.compile(r"underway-([a-z0-9-]{1,63})\.sources")
_FIELD = re.compile(r"^(URIs|Enabled|X-Underway-Version):[ \t]*(.{1,300}?)[ \t]*$", re.MULTILINE)


def facts(sources: Path = SOURCES) -> Dict[str, Any]:
    """The machine, and its package repositories as they are now, whoever wrote them."""
    return {
        "node": platform.node(), "kernel": platform.release(), "machine": platform.machine(),
        "python": platform.python_version(), "repositories": repositories(sources),
    }  # fmt: skip


def repositories(sources: Path) -> Dict[str, str]:
    """Name -> version of each repository of ours that apt asks here. Where the version that is written there is not
    in its URL, somebody has changed that: then it is the URL."""
    found: Dict[str, str] = {}
    try:
        files = sorted(path for path in sources.iterdir() if _FILE.fullmatch(path.name))[:MOST]
    except OSError:
        return found
    for path in files:
        try:
            with path.open("rb") as file:
                text = file.read(LARGEST).decode("utf-8", "replace")
        except OSError:
            continue
        said = dict(_FIELD.findall(text))
        if "URIs" not in said or said.get("Enabled", "yes").lower() in ("no", "false", "0"):
            continue
        version = said.get("X-Underway-Version", "")
        found[path.name[len("underway-") : -len(".sources")]] = (
            version if version and version in said["URIs"] else said["URIs"]
        )
    return found
