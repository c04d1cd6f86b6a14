"""The checks of ``cluster.yaml``: from the file's form to the model."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from underway.config import probes
from underway.config.checkfiles import SuiteFile
from underway.config.crosscheck import unknown
from underway.config.located import Document
from underway.config.names import Wrong
from underway.config.paths import inside
from underway.core.model.check import MOMENTS, Resource, Suite, Tempest, Testinfra
from underway.core.model.cluster import Host, Probe
from underway.errors import Problem

Loc = tuple[str | int, ...]
KINDS = ("command", "probe", "tempest", "testinfra", "resource", "javelin")


class Checks:
    """Reads the suites of one cluster file; ``problems`` is what is wrong with them."""

    def __init__(self, doc: Document, base: Path, hosts: Mapping[str, Host], roles: Collection[str]) -> None:
        self._doc = doc
        self._base = base
        self._hosts = hosts
        self._roles = roles
        self.problems: list[Problem] = []

    def build(self, written: Mapping[str, SuiteFile]) -> dict[str, Suite]:
        """The suites that are right, by name."""
        found = {name: self._suite(name, suite) for name, suite in written.items()}
        return {name: suite for name, suite in found.items() if suite is not None}

    def _suite(self, name: str, written: SuiteFile) -> Suite | None:
        at: Loc = ("checks", name)
        kinds = [kind for kind in KINDS if kind in written.model_fields_set]
        if len(kinds) != 1:
            found = ", ".join(kinds) if kinds else "none"
            message = f"expected exactly one of {', '.join(KINDS)}; found {found}"
            self._wrong(at, "check", message, "for example command: [/usr/local/bin/check]", of="key")
            return None
        kind: Any = kinds[0]
        if kind in ("resource", "javelin") and "when" in written.model_fields_set:
            self._wrong((*at, "when"), "check", f"a {kind} is looked at always", "leave 'when' out", of="key")
        before = len(self.problems)
        parts: dict[str, Any] = {}
        if kind == "command":
            parts["command"] = self._program((*at, "command"), written.command)
        elif written.probe is not None:
            parts["probe"] = self._probe(name, (*at, "probe"), written)
        elif written.tempest is not None:
            ask = written.tempest
            if any(release != "*" for release in ask.select):
                self._wrong((*at, "tempest", "select"), "check", "'select' is the same for every release")
            parts["tempest"] = Tempest(
                directory=self._path((*at, "tempest", "directory"), ask.directory),
                program=self._program((*at, "tempest", "program"), [ask.program])[0],
                select=tuple(ask.select.get("*", ())),
                tests=_tuples(ask.tests),
                exclude=_tuples(ask.exclude),
                workers=ask.workers,
            )
        elif written.testinfra is not None:
            parts["testinfra"] = self._testinfra((*at, "testinfra"), written)
        elif written.resource is not None:
            program = self._program((*at, "resource", "program"), written.resource.program)
            parts["resource"] = Resource(program=program, environment=dict(written.resource.environment))
        elif written.javelin is not None:
            parts["resource"] = self._javelin((*at, "javelin"), written)
        if len(self.problems) > before:
            return None
        return Suite(
            name=name,
            kind=kind,
            when=MOMENTS if kind in ("resource", "javelin") else tuple(dict.fromkeys(written.when)),
            timeout=written.timeout,
            known=_tuples(written.known),
            **parts,
        )

    def _wrong(self, at: Loc, code: str, message: str, hint: str = "", of: Any = "value") -> None:
        self.problems.append(self._doc.problem(at, code, message, hint, of=of))

    def _path(self, at: Loc, text: str) -> str:
        """An absolute path; relative ones are the file's."""
        path = inside(text, self._base, self._base)
        if isinstance(path, Wrong):
            self._wrong(at, path.code, path.message, path.hint)
            return text
        return str(path)

    def _program(self, at: Loc, words: list[str]) -> tuple[str, ...]:
        """A program's words; a first one with a slash is a path, relative to the file, links not followed (a virtual
        environment's python is one)."""
        if not words or not all(word.strip() and "\0" not in word for word in words):
            self._wrong(at, "check", "expected a program and its arguments, none of them empty")
            return tuple(words)
        first = words[0]
        if "/" in first and not first.startswith("/"):
            self._path(at, first)
            first = str(self._base.absolute() / first)
        return (first, *words[1:])

    def _probe(self, name: str, at: Loc, written: SuiteFile) -> Probe | None:
        assert written.probe is not None
        for key in ("every",):
            if key in written.probe.model_fields_set:
                self._wrong((*at, key), "check", f"'{key}' means nothing here: it is asked once", "leave it out", "key")
        self.problems += probes.check_shape(self._doc, at, written.probe)
        files, missing = probes.files_of(self._doc, at, written.probe, self._base, self._base)
        self.problems += [one for one in missing if one.severity == "error"]
        if not probes.is_whole(written.probe):
            return None
        probe = probes.build(name, written.probe, files, "", "")
        self.problems += probes.check_targets(self._doc, at, probe)
        return probe

    def _testinfra(self, at: Loc, written: SuiteFile) -> Testinfra:
        assert written.testinfra is not None
        ask = written.testinfra
        for index, role in enumerate(ask.roles):
            self.problems += unknown(self._doc, (*at, "roles", index), role, "role", self._roles)
        hosts = [host for host in self._hosts.values() if not ask.roles or host.role in ask.roles]
        return Testinfra(
            python=self._program((*at, "python"), [ask.python])[0],
            files=tuple(self._path((*at, "files", index), file) for index, file in enumerate(ask.files)),
            hosts=tuple(_words_of(hosts)),
        )

    def _javelin(self, at: Loc, written: SuiteFile) -> Resource:
        assert written.javelin is not None
        ask = written.javelin
        account = {
            "url": ask.auth.url,
            "user": ask.auth.user,
            "project": ask.auth.project,
            "user-domain": ask.auth.user_domain or ask.auth.domain,
            "project-domain": ask.auth.project_domain or ask.auth.domain,
            "password-file": self._path((*at, "auth", "password_file"), ask.auth.password_file),
        }
        words = [sys.executable, "-m", "underway.checks.javelin", "--file", self._path((*at, "file"), ask.file)]
        words += [word for key, value in account.items() if value for word in (f"--{key}", value)]
        return Resource(program=tuple(words))


def _tuples(listed: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {release: tuple(words) for release, words in listed.items()}


def _words_of(hosts: list[Host]) -> Iterator[str]:
    """Testinfra's words for how to reach hosts."""
    if any(host.connection == "local" for host in hosts):
        yield "local://"
    for host in hosts:
        if host.connection == "ssh":
            user = f"{host.user}@" if host.user else ""
            yield f"ssh://{user}{host.address or host.name}:{host.port}"
