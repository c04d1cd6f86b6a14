"""What is allowed and most likely a mistake: migrations on every host, steps that no number selects."""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import json
from typing import Any

import pytest

from fast.config.workspace import Workspace


def with_task(files: Workspace, task: dict[str, Any], phase: str = "upgrade", step: str = "") -> list[str]:
    files.write(
        "services/db.yaml",
        "service: db\ngate: {ansible.builtin.wait_for: {port: 3306}}\nphases:\n"
        f"  {phase}:\n    steps:\n      - step: Change\n        idempotent: true\n{step}        tasks:\n          - {json.dumps(task)}\n",
    )
    return [text for text in files.warnings() if "migrates" in text]


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ({"command": "nova-manage db sync"}, "-manage db"),
        ({"ansible.builtin.command": "{{ bin }}/nova-manage --config-file x api_db sync"}, "-manage --config-file x api_db"),
        ({"shell": "cinder-manage db_sync"}, "-manage db_sync"),
        ({"ansible.builtin.command": {"argv": ["keystone-manage", "db_sync", "--expand"]}}, "-manage db_sync"),
        ({"command": "heat-manage db_sync"}, "-manage db_sync"),
        ({"command": "nova-manage db online_data_migrations"}, "-manage db"),
        ({"command": "aodh-dbsync"}, "dbsync"),
        ({"command": "neutron-db-manage upgrade heads"}, "-db-manage upgrade"),
        ({"command": "gnocchi-upgrade"}, "gnocchi-upgrade"),
        ({"command": "python manage.py migrate --noinput"}, "manage.py migrate"),
        ({"block": [{"shell": "cd x && alembic -c y upgrade head"}]}, "alembic -c y upgrade"),
        ({"command": "glance-manage db_sync", "when": "glance_installed.rc == 0"}, "-manage db_sync"),
    ],
)  # fmt: skip
def test_a_migration_on_every_host_is_told(files: Workspace, task: dict[str, Any], found: str) -> None:
    [said] = with_task(files, task)
    assert f"step 'Change' migrates a database ('{found}" in said
    assert "on every host of the service (put it into 'expand', 'contract' or 'migrate', or a phase with" in said
    assert said.startswith("services/db.yaml:9:")


@pytest.mark.parametrize(
    "task",
    [
        {"command": "nova-manage db version"},
        {"command": "nova-manage cell_v2 list_cells"},
        {"command": "systemctl restart nova-api"},
        {"command": "nova-status upgrade check"},
        {"command": "nova-manage db sync", "when": "is_bootstrap_node|bool"},
        {"command": "nova-manage db sync", "when": ["inventory_hostname == groups['controller'][0]"]},
        {"block": [{"command": "nova-manage db sync"}], "when": "is_bootstrap_node"},
        {"copy": {"content": "nova-manage db sync", "dest": "/x"}},
    ],
)
def test_what_is_no_migration_or_runs_on_one_host_is_not(files: Workspace, task: dict[str, Any]) -> None:
    assert with_task(files, task) == []


@pytest.mark.parametrize(("phase", "step"), [("expand", ""), ("migrate", ""), ("upgrade", "        read_only: true\n")])
def test_phases_that_are_done_once_are_the_place_for_it(files: Workspace, phase: str, step: str) -> None:
    assert with_task(files, {"command": "nova-manage db sync"}, phase, step) == []


def test_the_once_only_mark_is_enough(files: Workspace) -> None:
    with_task(files, {"command": "nova-manage db sync"})
    files.edit("services/db.yaml", "  upgrade:\n", "  upgrade:\n    once: true\n")
    assert [text for text in files.warnings() if "migrates" in text] == []


def test_a_step_that_no_number_selects_is_told_with_its_place(files: Workspace) -> None:
    files.cluster("roles:\n", "numbers: [0, 1]\nroles:\n")
    files.api("    - step: Install\n", "    - step: Install\n      number: 6\n")
    assert (
        "services/api.yaml:11:15: warning: phases.upgrade[0].number: step 'Install' is never selected at 6 ('numbers' of the cluster has 0, 1)"
        in files.warnings()
    )
    files.api("      number: 6\n", "      numbers: [1, 6, 7]\n")
    assert (
        "services/api.yaml:11:16: warning: phases.upgrade[0].numbers: step 'Install' is never selected at 6, 7 ('numbers' of the cluster has 0, 1)"
        in files.warnings()
    )
