"""A small signed plan by hand, in the shape that ``render`` gives it, and an enrolled host directory."""
# ruff: noqa: TID251

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

PLAN_TYPE = "application/vnd.underway.plan+json"
PYTHON = os.environ.get("UNDERWAY_HOST_PYTHON") or sys.executable
"""What runs the runner: ``scripts/nightly`` has the same tests with the oldest one that hosts may have."""

TICKET_TYPE = "application/vnd.underway.ticket+json"


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def slug(step: str) -> str:
    return step.replace(".", "_")


class Kit:
    """Keys, plan, tickets for one host ``h1`` of cluster ``demo``, action ``control/web/h1``."""

    def __init__(self, root: Path, steps: list[dict[str, Any]], handlers: list[dict[str, Any]] | None = None) -> None:
        self.root = root
        self.directory = root / "host"
        self.signers = {"plan": CryptoSigner.generate_ed25519(), "ticket": CryptoSigner.generate_ed25519()}
        self.steps = steps
        self.handlers = handlers or []
        self.vars: dict[str, Any] = {}
        self.way: dict[str, Any] = {"ansible_connection": "local"}
        self.inventory_extra = ""
        self.run_id = "r1"
        self.rebuild()

    def rebuild(self) -> None:
        self.files = {"web.yml": self._playbook(), "inventory.yml": self._inventory()}
        self.plan: dict[str, Any] = {
            "cluster": "demo",
            "passes": {
                "control/web": {
                    "role": "web",
                    "hosts": ["h1"],
                    "legs": [
                        {
                            "steps": [s["id"] for s in self.steps],
                            "playbook": "web.yml",
                            "digest": sha(self.files["web.yml"]),
                        }
                    ],
                }
            },
            "steps": {s["id"]: {**s} | {"service": "web", "phase": "upgrade", "name": s["id"]} for s in self.steps},
            "handlers": {"web": self.handlers},
            "hosts": {"h1": {"name": "h1", "role": "web"}},
        }

    def _playbook(self) -> bytes:
        tasks: list[dict[str, Any]] = []
        for handler in self.handlers:
            name = handler["name"]
            tag = "raise_" + name.lower().replace(" ", "_")
            tasks.append(
                {
                    "name": f"Raise handler {name} again",
                    "ansible.builtin.command": "true",
                    "changed_when": True,
                    "notify": name,
                    "tags": ["never", tag],
                }
            )
        tasks += [
            {"name": step["id"], "tags": [f"step_{slug(step['id'])}"], "block": step["tasks"]} for step in self.steps
        ]
        tasks.append(
            {"name": "flush", "ansible.builtin.meta": "flush_handlers", "tags": ["always", "flush_web_upgrade"]}
        )
        tasks += [
            {**step["check"], "tags": ["never", f"check_{slug(step['id'])}"]}
            for step in self.steps
            if step.get("check")
        ]
        play = {"name": "web", "hosts": "all", "gather_facts": False, "tasks": tasks, "handlers": self.handlers}
        return json.dumps([play], indent=1).encode()

    def _inventory(self) -> bytes:
        lines = ["all:", "  hosts:", "    h1:"]
        for name, value in (self.way | self.vars).items():
            lines.append(f"      {name}: {json.dumps(value)}")
        return ("\n".join(lines) + "\n" + self.inventory_extra).encode()

    def keys(self) -> list[dict[str, Any]]:
        found = []
        for use, signer in self.signers.items():
            key = signer.public_key
            found.append(
                {
                    "keyid": key.keyid,
                    "keytype": key.keytype,
                    "scheme": key.scheme,
                    "keyval": dict(key.keyval),
                    "use": use,
                }
            )
        return found

    def sign(self, use: str, kind: str, payload: bytes) -> bytes:
        envelope = Envelope(payload, kind, {})
        envelope.sign(self.signers[use])
        return json.dumps(envelope.to_dict()).encode()

    def ticket(self, token: int = 1, **changes: Any) -> dict[str, Any]:
        leg = self.plan["passes"]["control/web"]["legs"][0]
        reboots = [step["id"] for step in self.steps if step.get("reboot")]
        gathers = [step["id"] for step in self.steps if step.get("gathers")]
        return {
            "protocol": 1,
            "cluster": "demo",
            "run": self.run_id,
            "action": "control/web/h1",
            "leg": 0,
            "token": token,
            "host": "h1",
            "target": "h1",
            "plan": sha(canonical(self.plan)),
            "playbook": leg["playbook"],
            "digest": leg["digest"],
            "steps": leg["steps"],
            "files": {name: sha(data) for name, data in self.files.items()},
            "timeout": 600.0,
            "issued": time.time(),
            "expires": time.time() + 3600,
            **({"reboots": reboots} if reboots else {}),
            **({"gathers": gathers} if gathers else {}),
            **changes,
        }

    def request(self, token: int = 1, vault: str | None = None, **changes: Any) -> dict[str, Any]:
        ticket = self.ticket(token, **changes)
        return {
            "plan": base64.b64encode(self.sign("plan", PLAN_TYPE, canonical(self.plan))).decode(),
            "ticket": base64.b64encode(self.sign("ticket", TICKET_TYPE, canonical(ticket))).decode(),
            "files": {name: base64.b64encode(data).decode() for name, data in self.files.items()},
            "vault_password": vault,
        }

    def call(
        self, verb: str, request: Any = None, *arguments: str, env: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Run a verb to its end; the answers."""
        done = subprocess.run(
            [PYTHON, "-m", "underway_runner", verb, "--dir", str(self.directory), *arguments],
            input=(json.dumps(request) + "\n").encode() if request is not None else b"",
            capture_output=True,
            timeout=120,
            env={**os.environ, **(env or {})},
        )
        assert not done.stderr, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def enrol(self) -> None:
        self.directory.mkdir(exist_ok=True)
        answers = self.call("enrol", {"cluster": "demo", "host": "h1", "keys": self.keys()})
        assert answers == [{"kind": "enrolled"}], answers

    def where(self, token: int = 1) -> list[str]:
        return ["--run", self.run_id, "--action", "control/web/h1", "--leg", "0", "--token", str(token)]

    def start(
        self, token: int = 1, env: dict[str, str] | None = None, vault: str | None = None, **changes: Any
    ) -> dict[str, Any]:
        answers = self.call("start", self.request(token, vault, **changes), env=env)
        return answers[-1] if answers else {"kind": "killed"}

    def follow(self, token: int = 1, since: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        # Input is kept open by a pipe of its own: its end ends the call.
        reader, writer = os.pipe()
        try:
            done = subprocess.run(
                [
                    *[PYTHON, "-m", "underway_runner", "follow", "--dir", str(self.directory)],
                    *[*self.where(token), "--since", str(since), "--wait", "60"],
                ],
                stdin=reader,
                capture_output=True,
                timeout=120,
            )
        finally:
            os.close(writer)
            os.close(reader)
        assert not done.stderr, done.stderr.decode()
        *lines, status = [json.loads(line) for line in done.stdout.splitlines()]
        return lines, status

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "journal").read_bytes().splitlines()]


def effect(log: Path, word: str, **fields: Any) -> dict[str, Any]:
    """A task that appends a word to the effect log: what really happened, whatever the journal says."""
    return {"name": f"do {word}", "ansible.builtin.shell": f"echo {word} >> {log}", **fields}
