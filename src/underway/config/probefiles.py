"""Probes as written, in ``cluster.yaml`` and ``services/*.yaml``: parts of ``underway.config.documents``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from underway.config.fragment import Fragment
from underway.config.names import Wrong
from underway.config.values import Deadline, Interval, ProbeTimeout, Unfit, checked, custom
from underway.config.words import shown


def _sql_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_$]{1,64}", text, re.ASCII):
        return text
    raise custom(Wrong("name", f"{shown(text)} is not a name of MariaDB", "A-Z, a-z, 0-9, _ and $, at most 64"))


sql_name = AfterValidator(_sql_name)


class AuthFile(Fragment):
    """Who asks, at Keystone. The password stays in its file."""

    url: str = Field(description="Keystone's URL, up to and with /v3.")
    user: str = Field(min_length=1, max_length=255, description="User name.")
    project: str = Field(default="", max_length=255, description="Project name.")
    domain: str = Field(default="Default", min_length=1, max_length=255, description="Domain of user and project.")
    user_domain: str = Field(default="", max_length=255, description="Domain of the user, where it is another.")
    project_domain: str = Field(default="", max_length=255, description="Domain of the project, where it is another.")
    password_file: str = Field(min_length=1, description="File with the password, relative to this file.")


class KeystoneFile(AuthFile):
    """A probe of Keystone itself."""

    action: Literal["token", "validate"] = Field(
        default="token", description="token: ask for one. validate: is the one asked for at the start still good?"
    )


class ServerFile(Fragment):
    """A server that is made at Nova, waited for, and deleted again; with the account of 'auth'."""

    url: str = Field(description="Nova's URL, up to and with /v2.1.")
    flavor: str = Field(min_length=1, max_length=255, description="Id of the flavor.")
    image: str = Field(default="", max_length=255, description="Id of the image.")
    network: str = Field(default="none", min_length=1, max_length=255, description="none, auto, or a network's id.")
    boot: Deadline = Field(default=15.0, description="How long it may take to become ACTIVE. Absent: 15s.")
    gone: Deadline = Field(default=30.0, description="How long its deletion may take. Absent: 30s.")


class AmqpFile(Fragment):
    """A message that goes through RabbitMQ and back."""

    address: str = Field(description="host:port of the broker.")
    user: str = Field(min_length=1, max_length=255, description="User name.")
    password_file: str = Field(min_length=1, description="File with the password, relative to this file.")
    vhost: str = Field(default="/", min_length=1, max_length=255, description="Virtual host.")
    queue: Literal["classic", "quorum"] = Field(
        default="classic", description="classic: of the node that is asked. quorum: a majority of nodes confirms."
    )


class MysqlFile(Fragment):
    """A row that is written to MariaDB or MySQL, read back, and deleted."""

    address: str = Field(description="host:port of the database.")
    user: str = Field(min_length=1, max_length=80, description="User name.")
    password_file: str = Field(min_length=1, description="File with the password, relative to this file.")
    database: Annotated[str, sql_name] = Field(description="Database that the probe may write to.")
    table: Annotated[str, sql_name] = Field(default="underway_probe", description="Its table; made if it is missing.")


class CleanupFile(Fragment):
    """How a write probe deletes what it created."""

    url: str = Field(description="What to delete: with {id} of the answer, or the {unique} name.")
    method: Literal["DELETE", "POST"] = Field(default="DELETE", description="Method of the deletion.")
    id: str = Field(default="", max_length=200, description="Where the id is in the JSON answer, such as project.id.")
    list: str = Field(default="", description="URL that lists what has the {unique} name, to find a lost answer's.")
    items: str = Field(default="", max_length=200, description="Where the list is in its JSON answer.")


def _status(value: object) -> list[int]:
    listed: list[Any] = value if isinstance(value, list) else [value]
    if listed and all(type(one) is int and 100 <= one <= 599 for one in listed):
        return listed
    raise Unfit("status", "expected one or several status codes", "for example 200, or [200, 204]")


_STATUS_ITEM = {"type": "integer", "minimum": 100, "maximum": 599}
_STATUS_SCHEMA = {"anyOf": [_STATUS_ITEM, {"type": "array", "items": _STATUS_ITEM, "minItems": 1}]}


class ServiceProbeFile(Fragment):
    """What is asked of every host of a service; exactly one of http, tcp, command, keystone, server, amqp and mysql."""

    http: str = Field(default="", description="URL to ask. In a service: with {address}, {host} or a variable.")
    tcp: str = Field(default="", description="host:port to connect to.")
    command: list[str] = Field(default=[], description="Program and arguments; exit code 0 is good. No shell.")
    keystone: KeystoneFile | None = Field(default=None, description="Ask Keystone for a token, or validate one.")
    server: ServerFile | None = Field(default=None, description="Make a server at Nova and delete it; needs 'auth'.")
    amqp: AmqpFile | None = Field(default=None, description="Send a message through RabbitMQ.")
    mysql: MysqlFile | None = Field(default=None, description="Write a row to MariaDB or MySQL.")
    every: Interval = Field(default=1.0, description="Interval on a fixed clock, 50ms to 1h. Absent: 1s; server: 30s.")
    timeout: ProbeTimeout = Field(
        default=2.0, description="An answer that takes longer is a failure. Absent: 2s; server: boot and gone and 15s."
    )
    access: Literal["read", "write"] = Field(default="read", description="write: the probe creates something.")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = Field(
        default="GET", description="Method of an http probe."
    )
    headers: dict[str, str] = Field(default={}, description="Headers of an http probe; no secrets.")
    body: str = Field(default="", description="Body of an http probe.")
    status: Annotated[list[int], checked(_status), WithJsonSchema(_STATUS_SCHEMA)] = Field(
        default=[200], description="Status codes that are good."
    )
    contains: str = Field(
        default="", max_length=1000, description="Text that a good body holds, or that a tcp target says first."
    )
    ca: str = Field(
        default="", description="File with the certificate authority of https; makes amqp and mysql speak TLS."
    )
    auth: AuthFile | None = Field(
        default=None, description="Get a token from Keystone and send it with http or server."
    )
    cleanup: CleanupFile | None = Field(default=None, description="How a write probe cleans up.")


class ProbeFile(ServiceProbeFile):
    """What is asked, how often, and of whom; exactly one of http, tcp, command, keystone, server, amqp and mysql."""

    service: str = Field(default="", description="The service that is out when this probe fails.")
    host: str = Field(default="", description="The back-end that is asked directly. Absent: through the balancer.")
    control: bool = Field(
        default=False, description="Asked only to tell the prober's own loss of network from an outage."
    )
