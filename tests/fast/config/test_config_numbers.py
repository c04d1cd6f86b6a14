"""Numbers of steps, lockstep, steps that gather, roles of operators: what the files say reaches the model, or is refused."""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import pytest

from fast.config.workspace import Workspace


def test_the_model(files: Workspace) -> None:
    files.cluster("roles:\n", "strategy: lockstep\nnumbers: [3, 1]\nroles:\n")
    files.cluster("    limit: 25%\n", "    limit: 25%\n    operator_driven: true\n")
    files.api("needs: [db]\n", "needs: [db]\nduplicates: once\n")
    files.api(
        "    - step: Install\n      idempotent: true\n",
        "    - step: Install\n      idempotent: true\n      number: 3\n      batch: true\n",
    )
    files.write(
        "services/db.yaml",
        "service: db\ngate: {ansible.builtin.wait_for: {port: 3306}}\nphases:\n  upgrade:\n"
        "    - {step: Look, gathers: true, numbers: [3, 1], tasks: [{ansible.builtin.command: id, register: me}]}\n",
    )
    inputs = files.load()
    assert inputs.problems == ()  # a step that gathers is not asked about running twice
    assert (inputs.cluster.strategy, inputs.cluster.numbers) == ("lockstep", (1, 3))
    assert [name for name, role in inputs.cluster.roles.items() if role.operator_driven] == ["compute"]
    api, db = inputs.catalogue.services["api"], inputs.catalogue.services["db"]
    assert (api.duplicates, db.duplicates) == ("once", "run")
    [install], looks = api.phases["upgrade"].steps, db.phases["upgrade"].steps
    assert (install.number, install.batch, install.gathers) == (3, True, False)
    assert [(look.id, look.number) for look in looks] == [("db.upgrade.look.1", 1), ("db.upgrade.look.3", 3)]
    assert all(look.gathers and look.idempotent for look in looks)


def test_defaults(files: Workspace) -> None:
    cluster = files.load().cluster
    assert (cluster.strategy, cluster.numbers) == ("rolling", ())
    assert not any(role.operator_driven for role in cluster.roles.values())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("idempotent: true", "number: -1", "services/api.yaml:11:15: phases.upgrade[0].number: -1 is out of bounds; expected at least 0"),
        ("idempotent: true", "number: step1", "services/api.yaml:11:15: phases.upgrade[0].number: expected a whole number, found 'step1'"),
        (
            "idempotent: true",
            "number: 1\n      numbers: [1, 2]",
            "services/api.yaml:12:7: phases.upgrade[0].numbers: step 'Install' has 'number' and 'numbers' (keep one of them)",
        ),
        (
            "idempotent: true\n      tasks",
            "gathers: true\n      tasks",
            "services/api.yaml:14:11: phases.upgrade[0].tasks[0].'ansible.builtin.package': step 'Install' only gathers, and 'ansible.builtin.package' makes changes (put the task into a step without 'gathers')",
        ),
        (
            "idempotent: true\n      tasks",
            "gathers: true\n      reboot: true\n      tasks",
            "services/api.yaml:12:15: phases.upgrade[0].reboot: step 'Install' only gathers, so 'reboot' has no place in it: it must change nothing (leave it out)",
        ),
        (
            "idempotent: true\n      tasks",
            "gathers: true\n      check: {ansible.builtin.command: id}\n      tasks",
            "services/api.yaml:12:14: phases.upgrade[0].check: step 'Install' only gathers, so 'check' has no place in it: it runs again each time (leave it out)",
        ),
        (
            "idempotent: true\n      tasks:\n",
            "gathers: true\n      tasks:\n        - {block: [{ansible.legacy.yum: name=x}]}\n",
            "services/api.yaml:13:21: phases.upgrade[0].tasks[0].block[0].'ansible.legacy.yum': step 'Install' only gathers, and 'ansible.legacy.yum' makes changes (put the task into a step without 'gathers')",
        ),
        (
            "idempotent: true\n      tasks:\n",
            "gathers: true\n      tasks:\n        - {command: id, notify: Restart api}\n",
            "services/api.yaml:13:25: phases.upgrade[0].tasks[0].notify: step 'Install' only gathers, and a task that notifies a handler makes changes (put the task into a step without 'gathers')",
        ),
    ],
)  # fmt: skip
def test_refused(files: Workspace, old: str, new: str, said: str) -> None:
    files.api(old, new)
    assert said in files.errors()


def test_a_strategy_that_is_none(files: Workspace) -> None:
    files.cluster("roles:\n", "strategy: lock-step\nroles:\n")
    said = (
        "cluster.yaml:3:11: strategy: expected one of rolling, lockstep; found 'lock-step' (did you mean 'lockstep'?)"
    )
    assert files.errors() == [said]
