"""Helper scripts and files that snippets carry along, and the module of eDeploy. Pure.

A host runs only what is signed with the plan, so a script travels as text inside its task. A module of eDeploy's own
library would have to be on every host; what it does is a question and a command, and is written as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from underway.importers.arguments import spans, unquoted

MAX_HELPER = 48 * 1024
"""Longest helper: a value of a service file has at most 64 KiB."""

OWN = ("evacuate-compute.sh", "enable-compute.sh")
"""Helpers that come with the program, for where the operator's are not given."""

CONF = "/var/lib/edeploy/conf"
_SHELLS = ("sh", "bash", "dash", "ksh")


@dataclass(frozen=True, slots=True)
class Carried:
    """A helper. ``own``: it is the program's, not the operator's."""

    name: str
    text: str
    own: bool = False

    @property
    def interpreter(self) -> str:
        """From its first line; a script without one is for bash, as the originals are."""
        first = self.text.split("\n", 1)[0]
        return first[2:].strip() if first.startswith("#!") else "/bin/bash"


def find(helper: Callable[[str], bytes | None], path: str) -> Carried | str:
    """The helper that a task names, or why there is none."""
    name = PurePosixPath(path).name
    if not name or "{{" in path:
        return "its name must be known now"
    data = helper(name)
    if data is None:
        if name not in OWN:
            return "there is no such file"
        text = resources.files("underway.importers.spinalstack").joinpath("scripts", name).read_text("utf-8")
        return Carried(name, text, own=True)
    if len(data) > MAX_HELPER:
        return f"it has {len(data):,} bytes; at most {MAX_HELPER:,} can be carried"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not text"
    if "\0" in text or "endraw" in text:
        return "it holds a NUL or the word 'endraw'"
    return Carried(name, text)


def raw(text: str) -> str:
    """``text`` so that Ansible leaves it as it is."""
    if any(mark in text for mark in ("{{", "{%", "{#")):
        return "{% raw %}" + text + "{% endraw %}"
    return text


def variable(snippet: str, name: str) -> str:
    """The name of the variable that holds a helper's text."""
    return re.sub(r"[^a-z0-9]+", "_", f"{snippet}_{name}".lower()).strip("_")


def script(
    carried: Carried, snippet: str, rest: str, secret: bool, options: dict[str, Any], keywords: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Tasks that run a helper with the arguments ``rest``, and the variables that they need.

    ``secret``: the arguments hold a secret. Those never stand in an argument list, where everybody on the host can read
    them: a file of root's holds them until the script has begun. Raises ``ValueError`` for a helper of another language
    with secrets.
    """
    shell = str(options.pop("executable", "") or carried.interpreter).split()
    words = [unquoted(rest[start:end]) for start, end in spans(rest)]
    name = variable(snippet, carried.name)
    text = carried.text
    made: list[dict[str, Any]] = []
    if secret:
        if PurePosixPath(shell[0]).name not in _SHELLS and shell[1:2] not in [[one] for one in _SHELLS]:
            raise ValueError(f"secrets can be handed to scripts of a shell only, and it is for {shell[0]}")
        path = f"/root/.underway-{variable(snippet, carried.name)}"
        quoted = " ".join(_quoted(word) for word in words)
        made.append(
            {
                "name": f"Hand {carried.name} what it is called with",
                "ansible.builtin.copy": {"content": f"set -- {quoted}\n", "dest": path, "mode": "0600"},
                "become": True,
                "changed_when": False,
                "no_log": True,
                **{key: keywords[key] for key in ("when", "become_user") if key in keywords},
            }
        )
        text = f". {path}\nrm -f {path}\n{text}"
        words = []
    argv = [*shell, "-c", f"{{{{ {name} }}}}", carried.name, *words]
    task: dict[str, Any] = {"ansible.builtin.command": {"argv": argv, **options}, "become": True, **keywords}
    task.setdefault("changed_when", True)
    return [*made, task], {name: raw(text)}


def _quoted(word: str) -> str:
    """A word of the arguments for a shell: templates are quoted when their values are known."""
    if "{{" not in word:
        return "'" + word.replace("'", "'\\''") + "'"
    whole = re.fullmatch(r"\{\{(.*)\}\}", word)
    if whole and "{{" not in whole[1]:
        return "{{ " + whole[1].strip() + " | quote }}"
    parts = re.split(r"(\{\{.*?\}\})", word)
    return "".join(_quoted(part) for part in parts if part)


def edeploy(options: dict[str, Any], keywords: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The task for eDeploy's module, and what is wrong with its arguments.

    An upgrade to the version that is recorded already changes nothing (A25).
    """
    command, version = options.get("command", ""), options.get("version", "")
    conf = options.get("conffile", CONF)
    name = keywords.pop("name", f"edeploy {command}")
    if command in ("version", "list"):
        argv = ["edeploy", command]
        return {
            "name": name,
            "ansible.builtin.command": {"argv": argv},
            "become": True,
            "changed_when": False,
            **keywords,
        }, ""
    if command != "upgrade":
        return {}, f"edeploy command {str(command)[:40]!r} is none of upgrade, version and list"
    if not version:
        return {}, "edeploy upgrade names no version"
    recorded = [part for quote in ("", '"', "'") for part in ("-e", f"VERS={quote}{version}{quote}")]
    asked = {
        "name": "Ask which image is there",
        "ansible.builtin.command": {"argv": ["grep", "-Fqx", *recorded, conf]},
        "register": "spinalstack_recorded",
        "changed_when": False,
        "failed_when": "spinalstack_recorded.rc > 1",
        "become": True,
    }
    upgraded = {
        "name": "Let eDeploy bring the image" if name.lower() == "edeploy upgrade" else name,
        "ansible.builtin.command": {"argv": ["edeploy", "upgrade", version]},
        "when": "spinalstack_recorded.rc == 1",
        "changed_when": True,
        "become": True,
    }
    return {"name": name, "block": [asked, upgraded], **keywords}, ""
