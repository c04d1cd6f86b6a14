"""Probes: from the file's short forms to the model, and from a service's templates to one probe for every host."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from underway.config import names
from underway.config.crosscheck import unknown
from underway.config.fragment import Fragment
from underway.config.located import Document
from underway.config.names import Wrong
from underway.config.paths import inside, root_of
from underway.config.probefiles import ProbeFile, ServiceProbeFile
from underway.config.words import one_of, shown
from underway.core.model.base import replace
from underway.core.model.cluster import Host, Probe, QueueAsk, ServerAsk, TableAsk
from underway.errors import Problem

Loc = tuple[str | int, ...]
_LATER = ("id", "unique")
"""Placeholders that a write probe replaces each time it asks."""
KINDS = ("http", "tcp", "command", "keystone", "server", "amqp", "mysql")
_HTTP_ONLY = ("method", "headers", "body", "status", "contains", "ca", "auth", "cleanup")
_ALSO = {
    "tcp": ("contains",),
    "keystone": ("ca",),
    "server": ("ca", "auth"),
    "amqp": ("ca",),
    "mysql": ("ca",),
}
"""Keys of http that mean something to another kind, too."""
SERVER_EVERY = 30.0
SERVER_MORE = 15.0
"""Of a server probe that does not say: its interval, and what its time-out has beyond ``boot`` and ``gone``."""
_SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-auth-token", "x-subject-token", "x-api-key"}
)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def check_shape(doc: Document, loc: Loc, probe: ServiceProbeFile) -> Iterator[Problem]:
    """What is wrong with a probe whatever it asks: its kind, keys of another kind, headers."""
    # as written: a kind that is wrong in itself has been told already
    written: Any = doc.value
    for part in loc:
        written = written[part]
    kinds = [kind for kind in KINDS if kind in written]
    if len(kinds) != 1:
        found = ", ".join(kinds) if kinds else "none"
        message = f"expected exactly one of {', '.join(KINDS)}; found {found}"
        yield doc.problem(loc, "probe", message, "for example http: http://10.0.0.10:5000/healthcheck", of="key")
        return
    kind = kinds[0]
    if kind != "http":
        for key in _HTTP_ONLY:
            if key in probe.model_fields_set and key not in _ALSO.get(kind, ()):
                message = f"'{key}' means nothing to a {kind} probe"
                yield doc.problem((*loc, key), "probe", message, "leave it out", of="key")
    if kind == "server" and probe.auth is None:
        yield doc.problem((*loc, "server"), "probe", "a server probe needs 'auth'", "add 'auth' with an account")
    if probe.server is not None and "timeout" in probe.model_fields_set:
        least = probe.server.boot + probe.server.gone
        if probe.timeout < least:
            message = f"the time-out is shorter than boot and gone together ({least:g} s)"
            yield doc.problem((*loc, "timeout"), "probe", message, "make it longer, or leave it out")
    if kind == "command" and not all(part.strip() and "\0" not in part for part in probe.command):
        yield doc.problem((*loc, "command"), "probe", "an argument of the command is empty")
    for name, value in probe.headers.items():
        if not _HEADER.fullmatch(name):
            yield doc.problem((*loc, "headers", name), "header", f"{shown(name)} is not a header", of="key")
        elif name.lower() in _SECRET_HEADERS:
            message = f"header {shown(name)} carries a secret"
            yield doc.problem((*loc, "headers", name), "inline-secret", message, "use 'auth' with 'password_file'")
        elif names.sentence(value or "-", "header", 4096) or not value.isascii():
            yield doc.problem((*loc, "headers", name), "header", f"the value of {shown(name)} holds control characters")
    if probe.cleanup is not None and probe.access != "write":
        yield doc.problem((*loc, "cleanup"), "probe", "only a write probe cleans up", "add 'access: write'", of="key")
    if kind == "http" and probe.cleanup is not None:
        if "{unique}" not in probe.http + probe.body:
            message = "expected {unique} in the URL or the body, to know what to delete"
            yield doc.problem((*loc, "http"), "probe", message, 'for example body: \'{"name": "{unique}"}\'')
        if "{id}" not in probe.cleanup.url and "{unique}" not in probe.cleanup.url:
            yield doc.problem((*loc, "cleanup", "url"), "probe", "expected {id} or {unique} in the URL of the deletion")
    if kind == "http" and probe.access == "write" and probe.cleanup is None:
        hint = "add 'cleanup' with the URL to delete"
        yield doc.problem((*loc, "access"), "no-cleanup", "nothing deletes what this creates", hint, severity="warning")


def check_names(
    doc: Document, loc: Loc, probe: ProbeFile, services: Collection[str] | None, hosts: Collection[str]
) -> Iterator[Problem]:
    """Services (None: not all could be read) and hosts that a probe refers to."""
    if probe.service and services is not None:
        yield from unknown(doc, (*loc, "service"), probe.service, "service", services)
    if probe.host:
        yield from unknown(doc, (*loc, "host"), probe.host, "host", hosts)


def check_targets(doc: Document, loc: Loc, probe: Probe) -> Iterator[Problem]:
    """What is wrong with the addresses of a probe, with its placeholders replaced."""
    asked: list[tuple[Loc, str, Callable[[str], Wrong | None]]] = []
    if probe.address:
        where = (*loc, "tcp") if probe.kind == "tcp" else (*loc, probe.kind, "address")
        asked.append((where, probe.address, names.endpoint))
    if probe.kind == "server":
        asked.append(((*loc, "server", "url"), probe.url, names.url))
    if probe.kind == "http":
        asked.append(((*loc, "http"), probe.url.replace("{unique}", "x"), names.url))
    if probe.kind == "keystone":
        asked.append(((*loc, "keystone", "url"), probe.url, names.url))
    elif probe.auth.get("url"):
        asked.append(((*loc, "auth", "url"), probe.auth["url"], names.url))
    if probe.cleanup:
        for key in ("url", "list"):
            text = re.sub(r"\{(?:id|unique)\}", "x", probe.cleanup.get(key, ""))
            if text:
                asked.append(((*loc, "cleanup", key), text, names.url))
    for where, text, check in asked:
        wrong = check(text)
        if wrong:
            yield doc.problem(where, *wrong)


def files_of(
    doc: Document, loc: Loc, probe: ServiceProbeFile, base: Path, root: Path
) -> tuple[dict[str, str], list[Problem]]:
    """The files that a probe reads, as absolute paths by key (``ca``, ``auth``, or its kind), and what is wrong.

    A file that is not there is a warning: secrets are often put in place later.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    wanted: list[tuple[str, Loc, str]] = []
    if probe.ca:
        wanted.append(("ca", (*loc, "ca"), probe.ca))
    if probe.auth is not None:
        wanted.append(("auth", (*loc, "auth", "password_file"), probe.auth.password_file))
    for kind, account in (("keystone", probe.keystone), ("amqp", probe.amqp), ("mysql", probe.mysql)):
        if account is not None:
            wanted.append((kind, (*loc, kind, "password_file"), account.password_file))
    for key, where, text in wanted:
        path = inside(text, base, root_of(base, root))
        if isinstance(path, Wrong):
            problems.append(doc.problem(where, *path))
            continue
        found[key] = str(path)
        if not path.is_file():
            message = f"file {shown(text)} does not exist (yet)"
            problems.append(doc.problem(where, "missing-file", message, "the probe will fail", severity="warning"))
    return found, problems


def is_whole(probe: ServiceProbeFile) -> bool:
    """Whether what it asks was understood, so that it can be built."""
    return len([kind for kind in KINDS if kind in probe.model_fields_set]) == 1


def build(name: str, written: ServiceProbeFile, files: Mapping[str, str], service: str, host: str) -> Probe:
    """The model's probe of what was written."""
    kind: Any = next(kind for kind in KINDS if kind in written.model_fields_set)
    every, timeout = written.every, written.timeout
    if written.server is not None:
        every = every if "every" in written.model_fields_set else SERVER_EVERY
        longest = written.server.boot + written.server.gone + SERVER_MORE
        timeout = timeout if "timeout" in written.model_fields_set else longest
    direct = written.amqp or written.mysql
    asked = written.keystone or written.server
    return Probe(
        name=name,
        kind=kind,
        service=service,
        host=host,
        url=asked.url if asked is not None else written.http,
        method=written.method,
        headers=dict(written.headers),
        body=written.body,
        status=tuple(written.status),
        contains=written.contains,
        address=direct.address if direct is not None else written.tcp,
        command=tuple(written.command),
        every=every,
        timeout=timeout,
        access="write" if written.server or written.mysql else written.access,
        ca=files.get("ca", ""),
        cleanup={} if written.cleanup is None else {k: v for k, v in written.cleanup.model_dump().items() if v},
        auth=_account(written, files),
        action=written.keystone.action if written.keystone is not None else "token",
        server=_made(written.server, ServerAsk, ("flavor", "image", "network", "boot", "gone")),
        amqp=_made(written.amqp, QueueAsk, ("vhost", "queue")),
        mysql=_made(written.mysql, TableAsk, ("database", "table")),
    )


def _account(written: ServiceProbeFile, files: Mapping[str, str]) -> dict[str, str]:
    """Who asks; the password as the name of its file."""
    auth: dict[str, str] = {}
    direct = written.amqp or written.mysql
    account = written.keystone or written.auth
    if direct is not None:
        auth = {"user": direct.user, "password_file": files.get("amqp") or files.get("mysql", "")}
    elif account is not None:
        auth = {
            "url": account.url,
            "user": account.user,
            "project": account.project,
            "domain": account.domain,
            "user_domain": account.user_domain,
            "project_domain": account.project_domain,
            "password_file": files.get("keystone") or files.get("auth", ""),
        }
    return {key: value for key, value in auth.items() if value}


A = TypeVar("A")


def _made(written: Fragment | None, kind: type[A], keys: Sequence[str]) -> A | None:
    """The model's value of the keys that a fragment and it share."""
    return None if written is None else kind(**{key: getattr(written, key) for key in keys})


def build_named(name: str, written: ProbeFile, files: Mapping[str, str]) -> Probe:
    """A probe of ``cluster.yaml``."""
    return replace(build(name, written, files, written.service, written.host), control=written.control)


class UnknownPlaceholder(ValueError):
    """A template names something that the host has not."""

    def __init__(self, word: str, known: Mapping[str, str]) -> None:
        self.wrong = Wrong("placeholder", f"{{{word}}} is not known here", one_of(word, known, "placeholders"))
        super().__init__(self.wrong.message)


def is_template(probe: Probe) -> bool:
    """Whether it has a placeholder: only then can it mean one host in particular."""
    words = {word for text in (probe.url, probe.address, *probe.command) for word in _PLACEHOLDER.findall(text)}
    return not words <= set(_LATER)


def expand(template: Probe, host: Host, values: Mapping[str, str]) -> Probe:
    """The template for one host, as ``<probe>@<host>``. Raises ``UnknownPlaceholder``."""

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(replace_one, text) if "{" in text else text

    def replace_one(match: re.Match[str]) -> str:
        word = match[1]
        if word in values:
            return values[word]
        if word in _LATER:
            return match[0]
        raise UnknownPlaceholder(word, values)

    return replace(
        template,
        name=f"{template.name}@{host.name}",
        host=host.name,
        url=fill(template.url),
        headers={name: fill(value) for name, value in template.headers.items()},
        body=fill(template.body),
        address=fill(template.address),
        command=tuple(fill(part) for part in template.command),
        cleanup={key: fill(value) for key, value in template.cleanup.items()},
        auth={key: fill(value) if key == "url" else value for key, value in template.auth.items()},
    )


def placeholders(host: Host, *variables: Mapping[str, Any]) -> dict[str, str]:
    """What a template may name: ``host``, ``address``, ``role``, ``domain``, and variables that are a text or a whole
    number (later mappings win)."""
    values: dict[str, str] = {}
    for mapping in variables:
        for name, value in mapping.items():
            if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
                values[name] = str(value)
            else:
                values.pop(name, None)
    address = host.address or ("127.0.0.1" if host.connection == "local" else host.name)
    values.update(
        host=host.name,
        address=f"[{address}]" if ":" in address else address,
        role=host.role,
        domain=host.domain,
    )
    return values
