"""What was understood, as a cluster of ours. Pure.

A profile is a role, after the one before it, with one host at a time (A4). A snippet is a service; a tag is the number
of its steps. A host does steps by number and, within one, by the order of its role's services: base snippet first, then
as steps and classes of the profile name them (A2). Every step may be repeated after an interruption, as the original
began again with the tag that it had recorded (A5). Puppet's configuration comes once all hosts are done (A8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from underway.config import names
from underway.core.names import slug
from underway.errors import Problem
from underway.importers.native import Native
from underway.importers.spinalstack.classes import Order
from underway.importers.spinalstack.configuration import SERVICE as CONFIGURATION
from underway.importers.spinalstack.configuration import configuration
from underway.importers.spinalstack.convert import FIRST, LAST, Context, Piece, piece
from underway.importers.spinalstack.scenario import INSTALL_SERVER, Profile, Scenario, Sources
from underway.importers.spinalstack.settings import DISTRIBUTION, DISTRIBUTIONS, Settings
from underway.importers.spinalstack.snippets import BASE, TAGS, Snippet

MEANING = {
    1: "first actions",
    2: "move resources away",
    3: "stop OpenStack",
    4: "stop infrastructure services",
    5: "bring the image",
    6: "start infrastructure services",
    7: "OpenStack services",
    8: "OpenStack services after those",
    9: "last actions",
}
"""What each tag is for, by the conventions of the snippets [C]."""


@dataclass(frozen=True, slots=True)
class Releases:
    """From which release to which."""

    source: str
    target: str


def releases(scenario: Scenario, sources: Sources) -> tuple[Releases, list[Problem]]:
    """``current_version`` and ``next_version`` of the environment; plain words where there is none."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for key, otherwise in (("current_version", "stable"), ("next_version", "next")):
        stated = scenario.config.get(key)
        if stated is None:
            found[key] = otherwise
            if sources.env is not None:
                hint = "the upgrade is from config.current_version to config.next_version"
                problems.append(sources.problem(("config",), "missing", f"config has no '{key}'", hint, of="key"))
        elif not isinstance(stated, str):
            message = "expected the name of a release"
            problems.append(sources.problem(("config", key), "type", message, "put it in quotes"))
        elif wrong := names.version(stated):
            problems.append(sources.problem(("config", key), *wrong))
        else:
            found[key] = stated
    if not problems and found["current_version"] == found["next_version"]:
        message = f"current and next release are both {found['next_version']}: there is nothing to upgrade to"
        problems.append(sources.problem(("config", "next_version"), "same-release", message))
    return Releases(found.get("current_version", ""), found.get("next_version", "")), problems


def service_name(snippet: str) -> str:
    """The name of the service that a snippet becomes."""
    return slug(snippet)


def pieces(context: Context, used: Mapping[str, Snippet]) -> dict[str, dict[int, Piece]]:
    """Snippet -> tag -> its tasks; tags that select nothing are left out. ``context`` collects what is wrong."""
    found: dict[str, dict[int, Piece]] = {}
    for snippet in used.values():
        for task in snippet.tasks:
            if isinstance(task.body.get("register"), str):
                context.registered.setdefault(task.body["register"], snippet.place(task.index))
    for name, snippet in used.items():
        made = {tag: piece(context, snippet, tag) for tag in TAGS}
        found[name] = {tag: one for tag, one in made.items() if one.tasks}
    return found


def build(
    scenario: Scenario,
    orders: Mapping[str, Order],
    snippets: Mapping[str, Snippet],
    parts: Mapping[str, dict[int, Piece]],
    variables: Settings,
    jump: Releases,
    distributions: list[str],
) -> Native:
    """The files. What is wrong with their content was said before."""
    cluster: dict[str, Any] = {
        "cluster": slug(scenario.name),
        "release": jump.source,
        "delivery": "image",
        "roles": {},
        "hosts": {},
        "policy": {"failure_budget": 1, "deadline": "1d"},
    }
    made = Native(cluster, head=_head(scenario, variables.left_out))
    before: Profile | None = None
    seat = next((one for one in scenario.profiles if one.image == INSTALL_SERVER), scenario.profiles[0])
    for profile in scenario.profiles:
        wanted = [BASE, *orders[profile.name].once]
        services = [service_name(name) for name in wanted if parts[name]]
        role: dict[str, Any] = {"services": services + ([CONFIGURATION] if profile is seat else []), "limit": 1}
        if before is not None:
            role["after"] = [before.role]
        hosts = scenario.hosts_of(profile.name)
        chosen = _chosen(hosts, [parts[name] for name in wanted])
        if chosen:
            role["vars"] = chosen
            made.notes["roles", profile.role, "vars"] = (
                "The hosts that groups['fakehostgroup'][0] and [-1] of the snippets mean: change it with the hosts."
            )
        cluster["roles"][profile.role] = role
        if profile.role != profile.name:
            made.notes["roles", profile.role] = f"profile {profile.name}"
        user = scenario.config.get("user")
        for host in hosts:
            body: dict[str, Any] = {"role": profile.role}
            if host.address:
                body["address"] = host.address
            if isinstance(user, str) and names.user(user) is None:
                body["user"] = user
            cluster["hosts"][host.name] = body
            made.notes["hosts", host.name] = f"{host.path}:{host.line}"
        before = profile
    if variables.settings:
        cluster["settings"] = variables.settings
    made.notes |= variables.notes
    for name, tags in parts.items():
        if tags:
            made.services[service_name(name)] = _service(name, tags, distributions if name == BASE else [])
            made.service_heads[service_name(name)] = f"From {snippets[name].document.path}."
    made.services[CONFIGURATION] = configuration()
    made.service_heads[CONFIGURATION] = "Puppet's configuration, once all hosts are upgraded: step 0, then step 5."
    made.releases[jump.target] = {
        "release": jump.target,
        "supports": [jump.source],
        **({"vars": variables.release} if variables.release else {}),
    }
    made.release_heads[jump.target] = "An upgrade goes from one release to the next one, and skips none."
    return made


def _head(scenario: Scenario, left_out: list[str]) -> str:
    head = f"The scenario {scenario.name} of Spinal Stack, by 'underway import spinalstack'.\n"
    head += "Each host does all its tags before the next one begins; roles follow each other by 'after'."
    if left_out:
        head += f"\nSecrets that no task reads were left out: {', '.join(sorted(left_out))}."
    if not scenario.hosts:
        head += "\n\nNo environment was given, so there are no hosts and no names of releases: add them here and in"
        head += "\nreleases/, or import again with --env."
    return head


def _chosen(hosts: list[Any], parts: list[dict[int, Piece]]) -> dict[str, str]:
    """The hosts that conditions of the role's tasks name."""
    text = str([one.tasks for tags in parts for one in tags.values()])
    if not hosts:
        return {}
    return {name: host.name for name, host in ((FIRST, hosts[0]), (LAST, hosts[-1])) if name in text}


def _service(name: str, tags: dict[int, Piece], distributions: list[str]) -> dict[str, Any]:
    steps = [
        {"step": f"tag {tag}: {MEANING[tag]}", "number": tag, "idempotent": True, "timeout": "2h", "tasks": one.tasks}
        for tag, one in tags.items()
    ]
    service: dict[str, Any] = {"service": service_name(name)}
    texts = {key: text for one in tags.values() for key, text in one.vars.items()}
    if texts:
        service["vars"] = texts
    phases: dict[str, Any] = {}
    if distributions:
        phases["preflight"] = [_right_distribution(distributions)]
    service["phases"] = {**phases, "upgrade": steps}
    return service


def _right_distribution(distributions: list[str]) -> dict[str, Any]:
    """The original loaded the variables of each host's distribution, and failed where there were none."""
    wanted = f"({DISTRIBUTION} | default('{distributions[0]}'))"
    return {
        "step": "is the distribution the one that the variables are for",
        "read_only": True,
        "tasks": [
            {"name": "Gather facts", "ansible.builtin.setup": {"gather_subset": ["!all", "!min", "distribution"]}},
            {
                "name": "Compare the distribution",
                "ansible.builtin.assert": {
                    "that": f"ansible_facts['distribution'] == {wanted}",
                    "fail_msg": f"this host runs {{{{ ansible_facts['distribution'] }}}}; variables are those of "
                    f"{{{{ {wanted} }}}} (import with --vars of its distribution; {DISTRIBUTIONS})",
                    "quiet": True,
                },
            },
        ],
    }
