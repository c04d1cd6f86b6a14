"""A scenario and its environment: profiles in their order, their classes, hosts, configuration. Pure (A12 to A15).

What the original found only by a broken template is refused here, all at once, each at its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from underway.config import names
from underway.config.located import Document
from underway.config.scalars import Severity
from underway.config.words import listing, nearest, one_of, shown
from underway.core.names import natural
from underway.errors import Problem
from underway.importers.spinalstack.arity import arity
from underway.importers.spinalstack.merging import merged
from underway.importers.spinalstack.ranges import BadPattern, Loc, expand

OF_SCENARIO = (("name",), ("profiles",), ("ordered_profiles",))
"""What a scenario says, and not an environment."""

INSTALL_SERVER = "install-server"
"""The image of the machine from which Puppet is run; ``configure.sh`` is there."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of host: puppet classes as (step, class) in order, and the eDeploy role of its image."""

    name: str
    role: str
    image: str
    classes: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A host: ``name`` with the domain, as the inventory of the original has it."""

    name: str
    profile: str
    address: str
    line: int
    path: str


@dataclass(slots=True)
class Scenario:
    """What the files say. ``profiles`` are those of ``ordered_profiles``, in that order."""

    name: str
    profiles: list[Profile] = field(default_factory=list)
    hosts: list[HostEntry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def hosts_of(self, profile: str) -> list[HostEntry]:
        """Hosts of a profile in the order in which they are upgraded: by name, numbers as numbers."""
        return sorted((host for host in self.hosts if host.profile == profile), key=lambda host: natural(host.name))


class Sources:
    """The scenario with the environment over it, and where each part stands."""

    def __init__(self, infra: Document, env: Document | None) -> None:
        self.infra, self.env = infra, env
        self.value = merged(infra.value, env.value) if env is not None else infra.value

    def document(self, loc: Loc) -> Document:
        """The file that says the part at ``loc``: the environment where both do, as it is merged over. Where none does,
        the file that should."""
        if self.env is None:
            return self.infra
        theirs, ours = len(self.env.walk(loc)[0]), len(self.infra.walk(loc)[0])
        return self.infra if theirs < ours or (not theirs and loc[:1] in OF_SCENARIO) else self.env

    def problem(
        self,
        loc: Loc,
        code: str,
        message: str,
        hint: str = "",
        *,
        of: Literal["key", "value"] = "value",
        severity: Severity = "error",
    ) -> Problem:
        """A problem at ``loc`` of the file that says it."""
        return self.document(loc).problem(loc, code, message, hint, of=of, severity=severity)


def understand(infra: Document, env: Document | None) -> tuple[Scenario, Sources]:
    """The scenario. Its ``problems`` hold every mistake; without an error the rest can be relied on."""
    sources = Sources(infra, env)
    value = sources.value
    name = value.get("name")
    scenario = Scenario(str(name) if isinstance(name, str | int) and not isinstance(name, bool) else "")
    note = scenario.problems.append
    scenario.problems += [*infra.problems, *(env.problems if env is not None else ()), *_names(sources)]
    config = value.get("config", {})
    if isinstance(config, dict):
        scenario.config = config
    elif config is not None:
        note(_wants(sources, ("config",), "keys and values", config))
    profiles = value.get("profiles")
    if not isinstance(profiles, dict) or not profiles:
        note(_wants(sources, ("profiles",), "the profiles, by name", profiles))
        return scenario, sources
    read = {str(key): _profile(scenario, sources, key, body) for key, body in profiles.items()}
    scenario.profiles = [read[key] for key in _ordered(scenario, sources, read)]
    if value.get("hosts") is not None:
        _hosts(scenario, sources, value["hosts"], set(read))
        _counts(scenario, sources, read)
    elif env is not None:
        note(env.problem((), "missing", "the environment has no 'hosts'", "name its hosts, each with a profile"))
    return scenario, sources


def _wants(sources: Sources, loc: Loc, what: str, found: Any) -> Problem:
    last = str(loc[-1])
    if found is None and len(sources.document(loc).walk(loc)[0]) < len(loc):
        document = sources.document(loc)
        return document.problem(loc[:-1], "missing", f"'{last}' is missing; expected {what}", of="key")
    return sources.problem(loc, "type", f"expected {what}, found {shown(found) if found else 'nothing'}")


def _names(sources: Sources) -> Iterator[Problem]:
    """``name`` of the scenario, and ``infra`` of the environment which must be the same (A13)."""
    name, infra = sources.value.get("name"), sources.value.get("infra")
    if not isinstance(name, str) or not name:
        yield _wants(sources, ("name",), "the scenario's name", name)
    elif sources.env is None and infra is None:
        return
    elif not isinstance(infra, str) or not infra:
        yield _wants(sources, ("infra",), "the name of the scenario that it is for", infra)
    elif infra != name:
        hint = "give the environment of this scenario, or the scenario of this environment"
        yield sources.problem(("infra",), "infra", f"infra {shown(infra)} is not the scenario {shown(name)}", hint)


def role_name(profile: str) -> str:
    """The name of the role that a profile becomes."""
    return profile.lower().replace("_", "-").replace(".", "-")


def _profile(scenario: Scenario, sources: Sources, key: str, body: Any) -> Profile:
    loc: Loc = ("profiles", key)
    note = scenario.problems.append
    wrong = names.name(role_name(key), "profile")
    if wrong:
        note(sources.problem(loc, *wrong, of="key"))
    if not isinstance(body, dict):
        note(_wants(sources, loc, "a profile with 'arity' and 'steps'", body))
        return Profile(key, role_name(key), "", ())
    for unknown in set(body) - {"arity", "edeploy", "steps", "serverspec_config", "name"}:
        hint = nearest(unknown, ("arity", "edeploy", "steps", "serverspec_config"))
        if hint:
            note(sources.problem((*loc, unknown), "unknown-key", f"unknown key {shown(unknown)}", hint, of="key"))
    stated = body.get("arity")
    if stated is None:
        note(sources.problem(loc, "missing", f"profile {shown(key)} has no arity", "add for example: arity: 1+2n"))
    elif arity(stated) is None:
        hint = "a number, 3n (a multiple of 3), 1+2n (odd) or n (any)"
        note(sources.problem((*loc, "arity"), "arity", f"{shown(stated)} is not an arity", hint))
    image = body.get("edeploy", "")
    if not isinstance(image, str):
        note(_wants(sources, (*loc, "edeploy"), "the name of an image", image))
        image = ""
    return Profile(key, role_name(key), image, tuple(_classes(scenario, sources, loc, body)))


def _classes(scenario: Scenario, sources: Sources, loc: Loc, body: dict[str, Any]) -> list[tuple[int, str]]:
    """(step, class), steps ascending, classes as listed (A2)."""
    note = scenario.problems.append
    steps = body.get("steps")
    if steps is None:
        return []
    if not isinstance(steps, dict):
        note(_wants(sources, (*loc, "steps"), "steps by number", steps))
        return []
    found: list[tuple[int, str]] = []
    for key, part in steps.items():
        at = (*loc, "steps", key)
        if not (key.isascii() and key.isdecimal() and len(key) <= 4):
            note(sources.problem(at, "step", f"step {shown(key)} is not a number", of="key"))
            continue
        roles = part.get("roles") if isinstance(part, dict) else None
        if roles is None and (part is None or isinstance(part, dict)):
            if isinstance(part, dict) and part:
                odd = next(iter(part))
                hint = nearest(odd, ["roles"]) or "puppet classes of a step stand under 'roles'"
                note(sources.problem((*at, odd), "unknown-key", f"unknown key {shown(odd)}", hint, of="key"))
            continue
        if not isinstance(roles, list):
            note(_wants(sources, (*at, "roles") if isinstance(part, dict) else at, "a list of puppet classes", roles))
            continue
        for index, name in enumerate(roles):
            if isinstance(name, str) and name:
                found.append((int(key), name))
            else:
                note(_wants(sources, (*at, "roles", index), "a puppet class", name))
    return sorted(found, key=lambda one: one[0])


def _ordered(scenario: Scenario, sources: Sources, profiles: dict[str, Profile]) -> list[str]:
    note = scenario.problems.append
    order = sources.value.get("ordered_profiles")
    if not isinstance(order, list) or not order:
        note(_wants(sources, ("ordered_profiles",), "the profiles in the order of their upgrade", order))
        return []
    found: list[str] = []
    for index, name in enumerate(order):
        loc: Loc = ("ordered_profiles", index)
        if not isinstance(name, str) or name not in profiles:
            hint = one_of(str(name), profiles, "profiles")
            note(sources.problem(loc, "unknown-profile", f"profile {shown(name)} is not defined", hint))
        elif name in found:
            note(sources.problem(loc, "twice", f"profile {shown(name)} stands twice", "a host is upgraded once"))
        else:
            found.append(name)
    roles: dict[str, str] = {}
    for name in found:
        other = roles.setdefault(profiles[name].role, name)
        if other != name:
            message = f"profiles {shown(name)} and {shown(other)} would both be the role {profiles[name].role!r}"
            note(sources.problem(("profiles", name), "name-clash", message, "rename one of them", of="key"))
    for name in profiles:
        if name not in found:
            message = f"profile {shown(name)} is not in ordered_profiles: its hosts are not upgraded, and are left out"
            note(sources.problem(("profiles", name), "not-ordered", message, of="key", severity="warning"))
    return found


def _hosts(scenario: Scenario, sources: Sources, stated: Any, profiles: set[str]) -> None:
    note = scenario.problems.append
    if not isinstance(stated, dict) or not stated:
        note(_wants(sources, ("hosts",), "hosts by name", stated))
        return
    try:
        bodies, made_by = expand(stated)
    except BadPattern as error:
        of: Literal["key", "value"] = "key" if error.of == "key" else "value"
        note(sources.problem(("hosts", *error.loc), *error.wrong, of=of))
        return
    config = sources.value.get("config")
    domain = config.get("domain") if isinstance(config, dict) else None
    seen: dict[str, str] = {}
    wrong_keys: set[str] = set()  # a pattern with a mistake is told once, not for each of its hosts

    def wrong_at(loc: Loc, code: str, message: str, hint: str = "", of: Literal["key", "value"] = "value") -> None:
        if str(loc[1]) not in wrong_keys:
            wrong_keys.add(str(loc[1]))
            scenario.problems.append(sources.problem(loc, code, message, hint, of=of))

    for name, body in bodies.items():
        loc: Loc = ("hosts", made_by[name])
        profile = body.get("profile") if isinstance(body, dict) else None
        if profile is None:
            hint = f"add 'profile:', {one_of('', profiles, 'one of')}"
            wrong_at(loc, "missing", f"host {shown(name)} has no profile", hint, of="key")
            continue
        if not isinstance(profile, str) or profile not in profiles:
            hint = one_of(str(profile), profiles, "profiles")
            message = f"host {shown(name)} has the unknown profile {shown(profile)}"
            wrong_at((*loc, "profile"), "unknown-profile", message, hint)
            continue
        whole = f"{name}.{domain}" if isinstance(domain, str) and domain and not name.endswith(f".{domain}") else name
        wrong = names.host_name(whole.lower())
        if wrong:
            wrong_at(loc, *wrong, of="key")
            continue
        other = seen.setdefault(whole.lower(), name)
        if other != name:
            message = f"hosts {shown(other)} and {shown(name)} differ in case only, or by the domain"
            wrong_at(loc, "host-twice", message, of="key")
            continue
        address = body.get("ip", "")
        bad = names.address(address) if isinstance(address, str) and address else None
        if bad or not isinstance(address, str):
            ip = (*loc, "ip") if "ip" in body else loc
            wrong_at(ip, *(bad or ("address", f"{shown(address)} is not an IP address")))
            continue
        line, _ = sources.document(loc).place(loc, "key")
        scenario.hosts.append(HostEntry(whole.lower(), profile, address, line, sources.document(loc).path))


def _counts(scenario: Scenario, sources: Sources, profiles: dict[str, Profile]) -> None:
    """Each profile has as many hosts as its arity allows (A12)."""
    if any(problem.severity == "error" for problem in scenario.problems):
        return
    for name in profiles:
        stated = arity(sources.value["profiles"][name].get("arity"))
        hosts = [host.name for host in scenario.hosts_of(name)]
        if stated is not None and not stated.fits(len(hosts)):
            message = f"profile {shown(name)} has {len(hosts)} host{'s' if len(hosts) != 1 else ''}"
            message += f"; arity {shown(stated.stated)} wants {stated.words()}"
            hint = f"its hosts: {listing(hosts[:5])}{', …' if len(hosts) > 5 else ''}" if hosts else ""
            scenario.problems.append(sources.problem(("profiles", name, "arity"), "arity", message, hint))
