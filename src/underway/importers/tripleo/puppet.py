"""The configuration steps that follow the upgrade: Puppet over the manifests of a role's services (B18).

TripleO writes the step into Hiera's data and applies the role's manifest, for steps 1 to 5, all roles in step.
"""

from __future__ import annotations

from typing import Any

from underway.importers.tripleo.collect import Placed
from underway.importers.tripleo.steps import CONFIGURATION

CONFIGURE = "tripleo-configuration"


def manifest_of(placed: Placed) -> str:
    """The manifests of a role's services, in their order, each once."""
    return "\n".join(dict.fromkeys(service.manifest for service in placed.services if service.manifest))


def configuration() -> dict[str, Any]:
    """The service that applies ``tripleo_manifest``, a variable of the role."""
    return {
        "service": CONFIGURE,
        "vars": {
            "tripleo_manifest_file": "/root/tripleo_puppet_config.pp",
            "tripleo_hieradata": "/etc/puppet/hieradata/config_step.json",
            "tripleo_modules": "/etc/puppet/modules:/opt/stack/puppet-modules:/usr/share/openstack-puppet/modules",
        },
        "phases": {"upgrade": [_step(step, number) for step, number in enumerate(CONFIGURATION, start=1)]},
    }


def _step(step: int, number: int) -> dict[str, Any]:
    return {
        "step": f"configuration step {step}",
        "number": number,
        "idempotent": True,
        "timeout": "2h",
        "tasks": [
            {
                "name": "Write the manifest of the role",
                "ansible.builtin.copy": {
                    "content": "{{ tripleo_manifest }}\n",
                    "dest": "{{ tripleo_manifest_file }}",
                    "mode": "0600",
                },
            },
            {
                "name": "Tell Hiera the step",
                "ansible.builtin.copy": {
                    "content": f'{{"step": {step}}}\n',
                    "dest": "{{ tripleo_hieradata }}",
                    "mode": "0600",
                },
            },
            {
                "name": "Apply the manifest",
                "ansible.builtin.command": {
                    "argv": [
                        "puppet",
                        "apply",
                        "--detailed-exitcodes",
                        "--logdest",
                        "syslog",
                        "--logdest",
                        "console",
                        "--color=false",
                        "--modulepath={{ tripleo_modules }}",
                        "{{ tripleo_manifest_file }}",
                    ]
                },
                "register": "tripleo_puppet",
                # puppet-apply(8): 0 nothing to do, 2 changed; 1, 4 and 6 failed
                "changed_when": "tripleo_puppet.rc == 2",
                "failed_when": "tripleo_puppet.rc not in [0, 2]",
            },
        ],
    }
