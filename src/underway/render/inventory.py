"""The inventory of the exported tree: all hosts, groups and variables; static files, and the same for a script."""

from __future__ import annotations

from typing import Any

import msgspec

from underway.core.model.plan import Plan
from underway.render.names import pass_group, role_group, service_group
from underway.render.variables import TARGET_VARS, Variables, address, connection, data
from underway.render.yamltext import document


def tree(plan: Plan) -> dict[str, Any]:
    """Hosts with their ways in, by role, by service and by pass (in the order of the pass). Plain data, no secrets."""
    variables = Variables(plan)
    children: dict[str, Any] = {}
    for role, names in variables.by_role().items():
        hosts = {}
        for name in names:
            host = plan.hosts[name]
            said = {**plan.role_vars.get(role, {}), **host.vars}  # these stand in group_vars and host_vars
            ways = connection(host, on_itself=False)
            hosts[name] = {
                **{key: value for key, value in ways.items() if key not in said},
                "underway_address": address(host),
            }
        children[role_group(plan, role)] = {"hosts": hosts}
    by_service = variables.by_service()
    for service, names in by_service.items():
        children[service_group(service, by_service)] = {"hosts": {name: {} for name in names}}
    for stage in plan.stages:
        for pass_id in stage.passes:
            pass_ = plan.passes[pass_id]
            children[pass_group(plan, pass_)] = {"hosts": {name: {} for name in pass_.hosts}}
    return {"all": {"children": children}}


def static(plan: Plan) -> bytes:
    """``hosts.yml``. Hosts of a group stand in the order of the plan, which Ansible follows, so keys are not sorted."""
    out = ["# Made by Underway. Hosts of a pass stand in the order in which they go.\n---\nall:\n  children:\n"]
    for group, members in tree(plan)["all"]["children"].items():
        out.append(f"    {group}:\n")
        if not members["hosts"]:
            continue
        out.append("      hosts:\n")
        for name, values in members["hosts"].items():
            text = document({name: values}).decode().removeprefix("---\n")
            out += [f"        {line}\n" for line in text.splitlines()]
    return "".join(out).encode()


def variable_files(plan: Plan) -> dict[str, bytes]:
    """``group_vars`` and ``host_vars``, by path: what the orders of a run carry, once for each host and group."""
    variables = Variables(plan)
    needs = variables.needs_of(plan.steps)
    shared = variables.shared(needs)
    shared |= {
        "underway_host": "{{ inventory_hostname }}",
        "underway_target": "{{ inventory_hostname }}",
        "underway_target_address": "{{ hostvars[underway_target].underway_address }}",
        "underway_target_role": "{{ hostvars[underway_target].underway_role }}",
        "underway_target_limit": "{{ hostvars[underway_target].underway_limit }}",
    }
    if TARGET_VARS in needs:
        shared[TARGET_VARS] = "{{ hostvars[underway_target] }}"
    found = {"group_vars/all.yml": document(shared, "Made by Underway: defaults, the release's values, settings")}
    for role in plan.roles:
        values = plan.role_vars.get(role, {})
        marked = {name: data(value) for name, value in values.items()} | variables.set_of(values)
        marked |= {"underway_role": role, "underway_limit": plan.roles[role].limit}
        text = document(marked, f"Made by Underway: the role {role}")
        found[f"group_vars/{role_group(plan, role)}.yml"] = text
    for name, host in plan.hosts.items():
        if host.vars:
            marked = {key: data(value) for key, value in host.vars.items()}
            marked |= variables.set_of({**plan.role_vars.get(host.role, {}), **host.vars})
            found[f"host_vars/{name}.yml"] = document(marked, f"Made by Underway: the host {name}")
    return found


def dynamic_data(plan: Plan) -> bytes:
    """``underway.json``, which the script reads; Ansible can read it as an inventory as it is, too."""
    return msgspec.json.encode(tree(plan)) + b"\n"  # not sorted: hosts of a pass have an order


SCRIPT = '''\
#!/usr/bin/env python3
"""Dynamic inventory: prints the hosts of underway.json beside it (--list, or --host NAME). Variables stand in
group_vars and host_vars beside it, which Ansible reads for any inventory in this directory."""

import json
import pathlib
import sys


def main(arguments):
    """Print what Ansible asked for; 2 for a question that is none."""
    path = pathlib.Path(__file__).resolve().with_name("underway.json")
    groups = json.loads(path.read_text(encoding="utf-8"))["all"]["children"]
    hosts = {}
    for group in groups.values():
        for name, values in group.get("hosts", {}).items():
            hosts.setdefault(name, {}).update(values)
    if arguments == ["--list"]:
        found = {name: {"hosts": list(group.get("hosts", {}))} for name, group in groups.items()}
        found["_meta"] = {"hostvars": hosts}
    elif len(arguments) == 2 and arguments[0] == "--host":
        found = hosts.get(arguments[1], {})
    else:
        sys.stderr.write("usage: underway.py --list | --host NAME\\n")
        return 2
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''

__all__ = ["SCRIPT", "dynamic_data", "static", "tree", "variable_files"]
