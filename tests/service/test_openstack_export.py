"""All of the shipped OpenStack catalogue as an exported tree: real Ansible parses it, its linter finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.layouts import inputs

pytestmark = pytest.mark.service

BIN = Path(sys.executable).parent


def run(directory: Path, *command: str) -> None:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=directory,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openstack")
    inputs("all-in-one", directory)  # every service of the catalogue
    run(directory, "underway", "export", "--to", "2026.1", "tree")
    return directory / "tree"


def test_ansible_takes_it(tree: Path) -> None:
    run(tree, "ansible-playbook", "--syntax-check", "site.yml")


@pytest.mark.slow
def test_the_linter_finds_nothing(tree: Path) -> None:
    # each playbook once: what imports them all would have them looked at twice more
    playbooks = sorted(str(path.relative_to(tree)) for path in (tree / "passes").glob("*.yml"))
    run(tree, "ansible-lint", "--offline", "--profile", "production", *playbooks)
