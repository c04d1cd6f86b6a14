"""Puppet's configuration after all hosts: step 0, then step 5 (A8 to A11). Pure.

``configure.sh`` of the install server does a step: data made anew, Puppet on every host in the order of profiles (all
at once for ``parallel_steps``), the tests, at most five tries of both; it keeps the number of the step where it failed.
It is the operator's own program, as eDeploy is, and stays it. What the original lost is kept: each step is one of the
journal, so a run that is resumed does not begin again with step 0.
"""

from __future__ import annotations

from typing import Any

SERVICE = "spinalstack-configuration"
STEPS = (0, 5)
STEP_FILE = "/etc/config-tools/step"


def configuration() -> dict[str, Any]:
    """The service: once, on the install server, at the end of the upgrade."""
    return {
        "service": SERVICE,
        "vars": {"configure_program": "/usr/share/config-tools/configure.sh", "configure_step_file": STEP_FILE},
        "phases": {"finalize": {"once": True, "steps": [_step(number) for number in STEPS]}},
    }


def _step(number: int) -> dict[str, Any]:
    begin = {"content": f"{number}\n", "dest": "{{ configure_step_file }}", "mode": "0644"}
    return {
        "step": f"configuration step {number}: Puppet on all hosts, then the tests, at most 5 tries",
        "idempotent": True,
        "timeout": "1d",
        "tasks": [
            {"name": f"Begin with step {number}", "ansible.builtin.copy": begin, "become": True},
            {
                "name": f"Configure step {number}",
                "ansible.builtin.command": {"argv": ["{{ configure_program }}", str(number)]},
                "become": True,
                "changed_when": True,
            },
        ],
    }
