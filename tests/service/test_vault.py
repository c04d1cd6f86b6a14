"""Vault values: opened on the host only, with a password that is nowhere but in its file and in two pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

SECRET = "canary-9f31-swordfish"
PASSWORD = "canary-77aa-vaultpass"

SERVICE = """\
service: web
phases:
  upgrade:
    - step: use the secret
      idempotent: true
      tasks:
        - name: Write its length
          ansible.builtin.shell: "printf '%s' '{{ token | length }}' > {{ top }}/length"
          changed_when: true
        - name: Say it aloud, which is filtered
          ansible.builtin.command: "echo {{ token }}"
          changed_when: false
"""


def underway(top: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "underway.cli.main", "--cluster", str(top / "cluster.yaml"), *words],
        capture_output=True, text=True, timeout=300, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def encrypted(top: Path) -> str:
    (top / "vault-password").write_text(PASSWORD + "\n")
    (top / "vault-password").chmod(0o600)
    tool = Path(sys.executable).with_name("ansible-vault")
    done = subprocess.run(
        [tool, "encrypt_string", "--vault-password-file", top / "vault-password", "--stdin-name", "token"],
        input=SECRET, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return "\n".join([lines[0], *("  " + line for line in lines[1:])])


def test_a_vault_value_is_opened_on_the_host_and_nowhere_else(tmp_path: Path) -> None:
    token = encrypted(tmp_path)
    (tmp_path / "services").mkdir()
    (tmp_path / "services/web.yaml").write_text(SERVICE)
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/2.yaml").write_text('release: "2"\nsupports: ["1"]\n')
    indented = "\n".join("  " + line for line in token.splitlines())
    (tmp_path / "cluster.yaml").write_text(
        'cluster: vaulted\nrelease: "1"\nroles:\n  web: {services: [web]}\n'
        f"hosts:\n  h1: {{role: web, connection: local, directory: {tmp_path}/h1}}\n"
        f"settings:\n  top: {tmp_path}\n{indented}\n"
    )
    assert underway(tmp_path, "enrol").returncode == 0
    planned = underway(tmp_path, "plan", "--to", "2", "-o", str(tmp_path / "plan.json"))
    assert planned.returncode == 0, planned.stderr

    without = underway(tmp_path, "upgrade", str(tmp_path / "plan.json"), "--yes")
    assert (without.returncode, "--vault-password-file" in without.stderr) == (2, True)
    (tmp_path / "vault-password").chmod(0o644)
    loose = underway(
        tmp_path, "upgrade", str(tmp_path / "plan.json"), "--yes", "--vault-password-file",
        str(tmp_path / "vault-password"),
    )  # fmt: skip
    assert (loose.returncode, "chmod 600" in loose.stderr) == (2, True)
    (tmp_path / "vault-password").chmod(0o600)

    done = underway(
        tmp_path, "upgrade", str(tmp_path / "plan.json"), "--yes",
        UNDERWAY_VAULT_PASSWORD_FILE=str(tmp_path / "vault-password"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "length").read_text() == str(len(SECRET))
    told = [done.stdout, done.stderr, planned.stdout]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "vault-password"]
    told.extend(path.read_bytes().decode(errors="replace") for path in files)
    assert not [text[:200] for text in told if SECRET in text or PASSWORD in text]
