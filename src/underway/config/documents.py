"""The files as written: strict models of ``cluster.yaml``, ``services/*.yaml`` and ``releases/*.yaml``.

These say which keys there are, of which type, with which default; the JSON Schemas are made from them. What spans
keys or files (is that role known?) is looked at in ``underway.config.crosscheck``; ``underway.config.build`` makes
the model's values of them. Descriptions reach the JSON Schemas and so the operator's editor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from underway.config import names
from underway.config.checkfiles import SuiteFile
from underway.config.extending import with_changes
from underway.config.fragment import Fragment
from underway.config.manifests import ManifestFile
from underway.config.names import Wrong
from underway.config.probefiles import ProbeFile, ServiceProbeFile
from underway.config.storefile import StoreFile
from underway.config.values import (
    ChecksAge,
    Deadline,
    LimitValue,
    OptionalLimit,
    Seconds,
    StepTimeout,
    WindowValue,
    custom,
)
from underway.core.model.manifest import Kind
from underway.core.model.policy import Limit
from underway.core.model.service import Phase


def _fits(check: Callable[[str], Wrong | None]) -> AfterValidator:
    def run(text: str) -> str:
        wrong = check(text)
        if wrong:
            raise custom(wrong)
        return text

    return AfterValidator(run)


def _name(what: str) -> tuple[AfterValidator, WithJsonSchema]:
    pattern = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 63}
    return _fits(lambda text: names.name(text, what)), WithJsonSchema(pattern)


def _optional(check: Callable[[str], Wrong | None]) -> AfterValidator:
    return _fits(lambda text: check(text) if text else None)


def _sentence(what: str, longest: int = 200) -> AfterValidator:
    return _fits(lambda text: names.sentence(text, what, longest))


_HOST_PATTERN = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 253}
_VERSION_PATTERN = {"type": "string", "pattern": "^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}$"}
_VARS_SCHEMA = {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}, "maxProperties": 1000}
_TASK_SCHEMA = {
    "type": "object",
    "description": "One ordinary Ansible task",
    "minProperties": 1,
    "properties": {"name": {"type": "string"}, "when": {}, "register": {"type": "string"}, "vars": {"type": "object"}},
    "not": {"anyOf": [{"required": [key]} for key in ("hosts", "roles", "delegate_to", "local_action", "run_once")]},
}

_ROLE, _ROLE_SCHEMA = _name("role")
_GROUP, _GROUP_SCHEMA = _name("group")
_PROBE, _PROBE_SCHEMA = _name("probe")
_SERVICE, _SERVICE_SCHEMA = _name("service")
_CLUSTER, _CLUSTER_SCHEMA = _name("cluster name")
_REPOSITORY, _REPOSITORY_SCHEMA = _name("repository")

RoleName = Annotated[str, _ROLE, _ROLE_SCHEMA]
GroupName = Annotated[str, _GROUP, _GROUP_SCHEMA]
ProbeName = Annotated[str, _PROBE, _PROBE_SCHEMA]
ServiceName = Annotated[str, _SERVICE, _SERVICE_SCHEMA]
ClusterName = Annotated[str, _CLUSTER, _CLUSTER_SCHEMA]
RepositoryName = Annotated[str, _REPOSITORY, _REPOSITORY_SCHEMA]
HostName = Annotated[str, _fits(names.host_name), WithJsonSchema(_HOST_PATTERN)]
Version = Annotated[str, _fits(names.version), WithJsonSchema(_VERSION_PATTERN)]
Vars = Annotated[dict[str, Any], WithJsonSchema(_VARS_SCHEMA)]
_OWN_VARS_SCHEMA = {**_VARS_SCHEMA, "propertyNames": {"pattern": "^(<own>|[A-Za-z_])[A-Za-z0-9_]*$"}}
ServiceVars = Annotated[dict[str, Any], WithJsonSchema(_OWN_VARS_SCHEMA)]
ActionName = Annotated[
    str,
    _fits(lambda text: names.name(text, "action")),
    WithJsonSchema(
        {**_PROBE_SCHEMA.json_schema, "pattern": "^(<service>|[a-z0-9])((<service>|[a-z0-9-])*(<service>|[a-z0-9]))?$"}
    ),
]
Task = Annotated[dict[str, Any], WithJsonSchema(_TASK_SCHEMA)]
Port = Annotated[int, Field(ge=1, le=65535)]
Extends = Annotated[
    list[ServiceName],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [_SERVICE_SCHEMA.json_schema, {"type": "array", "items": _SERVICE_SCHEMA.json_schema}]}),
]
StepNumber = Annotated[int, Field(ge=0, le=999)]


class RoleFile(Fragment):
    """A named kind of host: the services it runs, its rolling limits."""

    services: list[str] = Field(description="Services of the catalogue that every host of this role runs.")
    limit: OptionalLimit = Field(
        default=None,
        description="Hosts of this role that may be unavailable at once: a number, or a percentage rounded down. "
        "0 holds them all. Absent: 1.",
    )
    after: list[str] = Field(default=[], description="Roles whose hosts must all have finished first.")
    canary: list[str] = Field(default=[], description="Hosts of this role that go first, alone.")
    operator_driven: bool = Field(
        default=False,
        description="Operators upgrade these hosts themselves, after the others: the plan shows the role's steps, and "
        "has no passes for it.",
    )
    vars: Vars = Field(default={}, description="Variables for the tasks on hosts of this role.")


class GroupFile(Fragment):
    """Roles that share one rolling limit, in addition to their own."""

    roles: list[str] = Field(min_length=1, description="The roles of the group.")
    limit: OptionalLimit = Field(default=None, description="Hosts of all these roles unavailable at once. Absent: 1.")


class HostFile(Fragment):
    """One machine, in exactly one role."""

    role: str = Field(description="The role of this host.")
    address: Annotated[str, _optional(names.address)] = Field(
        default="", description="IP address or DNS name. Absent: the host's name."
    )
    port: Port = Field(default=22, description="Port of SSH.")
    user: Annotated[str, _optional(names.user)] = Field(default="", description="User of SSH. Absent: SSH decides.")
    domain: Annotated[str, _optional(lambda text: names.name(text, "failure domain"))] = Field(
        default="", description="What fails as one with this host: a rack, a power feed."
    )
    connection: Literal["ssh", "agent", "local"] = Field(
        default="ssh",
        description="ssh: over the network. agent: the host's own agent fetches the work. local: a host on this "
        "machine, in 'directory'.",
    )
    ansible: Literal["host", "coordinator"] = Field(
        default="host", description="Where Ansible runs for this host: on itself, or here when it cannot have Ansible."
    )
    python: str = Field(default="", description="Python interpreter of the runner's environment on the host.")
    directory: str = Field(default="", description="Where the runner keeps its journal on the host.")
    release: Annotated[str, _optional(names.version)] = Field(
        default="", description="The release of this host, where it differs from the cluster's."
    )
    vars: Vars = Field(default={}, description="Variables for the tasks on this host.")


class PolicyFile(Fragment):
    """Rules over all hosts of a run."""

    limit: OptionalLimit = Field(default=None, description="Hosts of the whole cluster unavailable at once.")
    domain_limit: OptionalLimit = Field(default=None, description="Hosts unavailable at once in one failure domain.")
    domains_at_once: int = Field(
        default=0, ge=0, le=1000, description="Failure domains with hosts at work at once; 0: any number."
    )
    failure_budget: int = Field(
        default=1, ge=1, le=100_000, description="Failed (or unknown) hosts at which the run halts."
    )
    soak: Seconds = Field(default=0.0, description="How long a host must be healthy before its slot is free again.")
    health_timeout: Deadline = Field(default=300.0, description="How long a host may take to become healthy.")
    deadline: Deadline = Field(default=3600.0, description="How long a host may be at work before it is called stuck.")
    windows: list[WindowValue] = Field(default=[], description="Weekly windows in which hosts may start. None: always.")
    approvals: list[str] = Field(default=[], description="Stages that wait for 'underway approve'.")
    outage_budget: dict[str, Seconds] = Field(
        default={}, description="Service: how long it may be out, in all, before the run halts."
    )
    prepare_limit: LimitValue = Field(
        default_factory=lambda: Limit(count=20),
        description="Hosts at once in stages that restart nothing. Absent: 20.",
        json_schema_extra={"default": 20},
    )
    allow_full_outage: bool = Field(
        default=False, description="Allow limits that take all hosts of a role, or the majority of a quorum, at once."
    )
    checks_age: ChecksAge = Field(
        default=86400.0, description="How old the results of 'underway check run before' may be when an upgrade begins."
    )


class ClusterFile(Fragment):
    """What is upgraded as one: roles, hosts, groups, policy, probes and settings."""

    PLACEHOLDERS: ClassVar[dict[str, Any]] = {"cluster": "unnamed", "release": "0", "roles": {}, "hosts": {}}

    cluster: ClusterName = Field(description="Name of the cluster: a-z, 0-9 and '-'.")
    release: Version = Field(description="The release that the cluster runs now, in quotes.")
    delivery: Literal["package", "venv", "image", "command"] = Field(
        default="venv", description="How a host gets new bits."
    )
    distribution: str = Field(
        default="", description="Distribution of its hosts, as the catalogue's distributions.yaml calls it."
    )
    strategy: Literal["rolling", "lockstep"] = Field(
        default="rolling",
        description="rolling: a host goes through all its steps, under limits. lockstep: no host begins a step's "
        "number before all hosts have finished the numbers before it.",
    )
    numbers: list[StepNumber] = Field(
        default=[], description="Numbers of steps that are run; steps with others are never selected. Absent: all."
    )
    catalogue: list[str] = Field(
        default=["services"],
        min_length=1,
        description="Directories with services, relative to this file, and names of catalogues that are shipped.",
    )
    releases: str = Field(
        default="releases", min_length=1, description="Directory with releases, relative to this file."
    )
    roles: dict[RoleName, RoleFile] = Field(description="The kinds of host, by name.")
    groups: dict[GroupName, GroupFile] = Field(default={}, description="Roles that share one limit, by name.")
    hosts: dict[HostName, HostFile] = Field(description="The hosts, by name.")
    policy: PolicyFile = Field(default_factory=PolicyFile, description="Rules over all hosts of a run.")
    probes: dict[ProbeName, ProbeFile] = Field(default={}, description="What is asked during the upgrade, by name.")
    checks: dict[ProbeName, SuiteFile] = Field(
        default={}, description="What 'underway check' runs before, during and after an upgrade, by name."
    )
    settings: Vars = Field(default={}, description="The cluster's configuration: variables for all tasks.")
    store: StoreFile | None = Field(
        default=None, description="Where its records lie. Absent: in a file of the state directory."
    )


class StepFile(Fragment):
    """A named piece of a phase: what the host's journal knows."""

    step: Annotated[str, _sentence("step name")] = Field(description="Name of the step, unique in its phase.")
    number: StepNumber | None = Field(
        default=None,
        description="Orders steps inside a host's upgrade, over all services of its role. Steps without come first.",
    )
    numbers: list[StepNumber] = Field(
        default=[], description="In place of 'number': it is a step of its own at each of these."
    )
    gathers: bool = Field(
        default=False,
        description="It only gathers what later tasks use (registered results, facts), changes nothing, and runs "
        "again each time its pass begins or goes on. Without a number: in every pass that its role has in lockstep.",
    )
    batch: bool = Field(
        default=False,
        description="With 'strategy: lockstep': hosts do it under their role's limit, not all at once.",
    )
    idempotent: bool = Field(default=False, description="It may run again after an interruption.")
    read_only: bool = Field(
        default=False, description="It only looks: it may run again, and begins nothing that bars the way back."
    )
    check: Task | None = Field(default=None, description="One task that succeeds if the step has happened already.")
    reboot: bool = Field(
        default=False, description="Its tasks reboot the host; it is done when the host is in another boot."
    )
    timeout: StepTimeout = Field(default=3600.0, description="How long the step may take. Absent: 1h.")
    tasks: list[Task] = Field(min_length=1, description="Ordinary Ansible tasks.")


class PhaseFile(Fragment):
    """One phase of a service: its steps (or the list of steps alone)."""

    once: bool = Field(default=False, description="On one host of the service only.")
    on: str = Field(default="", description="Service on whose hosts the steps run, for the host 'underway_target'.")
    restarts: bool = Field(
        default=False,
        description="Of finalize: it restarts the service. Hosts are drained and use slots and gates as in an upgrade.",
    )
    steps: list[StepFile] = Field(min_length=1, description="The steps, in order.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"steps": value} if isinstance(value, list) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(core))
        steps = whole["properties"]["steps"]
        alone = {key: part for key, part in steps.items() if key != "minItems"}  # none: the base's phase is left out
        return {
            "title": "Phase",
            "description": whole.get("description", ""),
            "anyOf": [*with_changes(whole), {**alone, "title": "Steps alone"}],
        }


class ActionFile(Fragment):
    """Something that can be rolled out for a service at any time ('underway roll --action'), a restart say."""

    drain: bool = Field(default=True, description="Take the service from its balancer meanwhile, where it has a drain.")
    steps: list[StepFile] = Field(min_length=1, description="The steps, in order.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(core))
        return {"title": "Action", "description": whole.get("description", ""), "anyOf": with_changes(whole)}


class ServiceFile(Fragment):
    """One composable piece of the catalogue: phases of tasks, what it needs, its checks."""

    PLACEHOLDERS: ClassVar[dict[str, Any]] = {"service": "unnamed"}

    service: ServiceName = Field(description="Name of the service: a-z, 0-9 and '-'.")
    extends: Extends = Field(
        default=[],
        description="A service (or several, each over those before it) whose parts are this one's, too, but for those "
        "that are given here.",
    )
    abstract: bool = Field(
        default=False,
        description="Others extend it, no host runs it. In its text, '<service>' is the name of who extends it, and "
        "'<own>' that name as variables begin with it ('_' for '-'). A variable without a value must be given one.",
    )
    plane: Literal["control", "data"] = Field(default="control", description="Which stage upgrades it.")
    needs: list[str] = Field(default=[], description="Services that must be upgraded before this one.")
    after: list[str] = Field(
        default=[], description="Needs that must be upgraded on every host before this one is upgraded anywhere."
    )
    balancer: Annotated[str, _optional(lambda text: names.sentence(text, "balancer", 128))] = Field(
        default="", description="The name that its back-ends have at the load balancer."
    )
    quorum: bool = Field(default=False, description="It stops serving when half of its hosts are down.")
    duplicates: Literal["run", "once"] = Field(
        default="run",
        description="once: a task that another such service of the role has, too, in steps of the same phase and "
        "number, runs once, where it stands first.",
    )
    vars: ServiceVars = Field(default={}, description="Defaults for its tasks, under settings, role and host values.")
    gate: Task | None = Field(default=None, description="One task that succeeds when the host is healthy.")
    logs: list[str] = Field(
        default=[],
        description="Its logs on a host: paths (* for any letters), or journal:UNIT; for 'underway diagnose'.",
    )
    version: list[str] = Field(default=[], description="Program and arguments that print its version on a host.")
    handlers: list[Task] = Field(default=[], description="Ansible handlers that its tasks notify.")
    probes: dict[ProbeName, ServiceProbeFile] = Field(
        default={}, description="Asked of every host of the service, by name."
    )
    phases: dict[Phase, PhaseFile] = Field(default={}, description="The phases of its upgrade.")
    bits: dict[Kind, list[Annotated[str, _sentence("pattern", 256)]]] = Field(
        default={},
        description="Patterns of all that it is made of, by kind of list: it is upgraded only if one of these changes.",
    )
    actions: dict[ActionName, ActionFile] = Field(
        default={}, description="What can be rolled out for it at any time, by a name that no other service has."
    )


class CheckFile(Fragment):
    """A check that must pass before anything is changed."""

    check: Annotated[str, _sentence("check name")] = Field(description="Name of the check.")
    service: str = Field(description="Service on whose hosts it runs.")
    task: Task = Field(description="One task that succeeds when the upgrade may go on.")


class RepositoryFile(Fragment):
    """Where packages of a release come from, and in which version."""

    url: Annotated[str, _fits(names.repository)] = Field(
        description="URL of the repository: http, https or file; '{snapshot}' in it is the snapshot."
    )
    snapshot: Annotated[str, _optional(names.version)] = Field(
        default="", description="The version of the repository: a snapshot's date, a number."
    )
    suite: Annotated[str, _fits(lambda text: names.sentence(text, "suite", 128))] = Field(
        default="./", description="The suite, such as trixie; with '/' at its end: a repository without components."
    )
    components: list[Annotated[str, _fits(lambda text: names.sentence(text, "component", 128))]] = Field(
        default=[], description="Components of the suite, such as main."
    )
    key: str = Field(
        default="", pattern=r"^(/[A-Za-z0-9._/+-]+)?$", description="Keyring on the hosts that signs it, a path."
    )
    unsigned: bool = Field(
        default=False, description="Believe it though nothing signs it: only where nobody else can write."
    )


class ReleaseFile(Fragment):
    """A named version of the whole cluster, with the jumps it supports."""

    PLACEHOLDERS: ClassVar[dict[str, Any]] = {"release": "0", "supports": []}

    release: Version = Field(description="Name of the release, in quotes.")
    supports: list[Version] = Field(description="Releases from which an upgrade to this one is allowed.")
    services: dict[str, Version] = Field(default={}, description="Version per service: what changes.")
    notes: dict[str, Annotated[str, _sentence("note", 4000)]] = Field(
        default={}, description="What an operator should know, by service or subject."
    )
    checks: list[CheckFile] = Field(default=[], description="Checks that must pass before anything is changed.")
    repositories: dict[RepositoryName, RepositoryFile] = Field(
        default={},
        description="Package repositories by name: what hosts of this release have ('release_repositories').",
    )
    vars: Vars = Field(default={}, description="Variables for the tasks of an upgrade to this release.")
    manifest: ManifestFile | None = Field(
        default=None, description="Lists of what its hosts are made of: then only services that change are upgraded."
    )
