"""The process that is Ansible: started by the supervisor, told what to do on its standard input.

What is secret comes by that pipe and lives in this process's memory only. The process dies with the supervisor.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

from underway_runner import link, procs


def main() -> int:
    """Read the order, become Ansible, run the playbook. The exit status is Ansible's."""
    order = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    procs.prctl(procs.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        return 1
    events = link.open_link(order["events"])
    sessions = os.open(order["sessions"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def in_worker() -> None:
        # A worker makes a session of its own; noting it here is how its modules are found if everybody above dies.
        procs.prctl(procs.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.write(sessions, f"{os.getpid()}\n".encode())
        events.close()

    os.register_at_fork(after_in_child=in_worker)
    arguments: List[str] = list(order["arguments"])
    if order["vault"]:
        events.send(
            {"secrets": [order["vault"], *vault_values(order["vault"], [Path(name) for name in order["files"]])]}
        )
        reader, writer = os.pipe()
        os.write(writer, order["vault"].encode())
        os.close(writer)
        arguments += ["--vault-password-file", f"/dev/fd/{reader}"]
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415  slow, and only wanted in this process

    sys.argv = ["ansible-playbook"]
    cli = PlaybookCLI(["ansible-playbook", *arguments])
    try:
        return int(cli.run() or 0)
    except Exception as error:  # noqa: BLE001  the boundary of this process: whatever Ansible raises is its last word
        events.send({"fatal": f"{type(error).__name__}: {error}"})
        return 1


VAULT = re.compile(r"^([ \t]*)(\$ANSIBLE_VAULT;[^\n]*(?:\n[ \t]*[0-9a-f]+)+)", re.MULTILINE)


def vault_values(password: str, files: List[Path]) -> List[str]:
    """The clear text of every vault value in the files (inline, or a file as a whole), to be kept out of output."""
    from ansible.errors import AnsibleError  # noqa: PLC0415
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415

    vault = VaultLib([("default", VaultSecret(password.encode()))])
    values: List[str] = []
    for path in files:
        for _, block in VAULT.findall(path.read_text(encoding="utf-8")):
            text = "\n".join(line.strip() for line in block.splitlines()) + "\n"
            try:
                clear = vault.decrypt(text.encode()).decode("utf-8", errors="surrogateescape")
            except AnsibleError:
                continue  # Ansible itself will say so, with the place
            values.append(clear)
            values += leaves(clear)
    return values


def leaves(text: str) -> List[str]:
    """Every scalar of a text that is YAML (a vault file as a whole)."""
    import yaml  # noqa: PLC0415

    found: List[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif value is not None:
            found.append(str(value))

    try:
        walk(yaml.safe_load(text))
    except yaml.YAMLError:
        return []
    return found


def order_of(**fields: Any) -> Dict[str, Any]:
    """The order that :func:`main` reads, spelled once."""
    wanted = {"arguments", "events", "files", "parent", "sessions", "vault"}
    assert set(fields) == wanted, sorted(wanted ^ set(fields))
    return fields


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
