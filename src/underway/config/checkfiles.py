"""Checks as written in ``cluster.yaml``: parts of ``underway.config.documents``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from underway.config.fragment import Fragment
from underway.config.probefiles import AuthFile, ServiceProbeFile
from underway.config.values import StepTimeout, Unfit, checked
from underway.config.words import shown

_LIST: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_BY_RELEASE_SCHEMA = {"anyOf": [_LIST, {"type": "object", "additionalProperties": _LIST}]}


def _by_release(value: object) -> dict[str, list[str]]:
    """A list for every release (``*``), or lists by release."""
    hint = 'for example [a.B.c], or {"2025.1": [a.B.c], "*": [d]}'
    mapping: dict[str, Any] = value if isinstance(value, dict) else {"*": value}
    for listed in mapping.values():
        if not isinstance(listed, list) or not all(isinstance(one, str) and one.strip() for one in listed):
            raise Unfit("by-release", "expected a list of texts, or such lists by release", hint)
    return mapping


def _patterns(value: object) -> dict[str, list[str]]:
    found = _by_release(value)
    for pattern in (one for listed in found.values() for one in listed):
        try:
            re.compile(pattern)
        except re.error as error:
            raise Unfit("pattern", f"{shown(pattern)} is not a regular expression: {error}") from None
    return found


ByRelease = Annotated[dict[str, list[str]], checked(_by_release), WithJsonSchema(_BY_RELEASE_SCHEMA)]
Patterns = Annotated[dict[str, list[str]], checked(_patterns), WithJsonSchema(_BY_RELEASE_SCHEMA)]


class TempestFile(Fragment):
    """Tests of Tempest, or any that stestr runs."""

    directory: str = Field(min_length=1, description="Where .stestr.conf lies.")
    program: str = Field(default="stestr", min_length=1, description="The program stestr, of Tempest's environment.")
    select: Patterns = Field(default={}, description="Regular expressions over ids and their tags, such as smoke.")
    tests: ByRelease = Field(default={}, description="Ids to run; one that does not exist is told.")
    exclude: Patterns = Field(default={}, description="Regular expressions: what matches is not run.")
    workers: int = Field(default=0, ge=0, le=64, description="Tests at once; 0: stestr chooses.")


class TestinfraFile(Fragment):
    """Tests of hosts by pytest-testinfra, over SSH."""

    __test__ = False  # pytest looks at names that begin so

    python: str = Field(min_length=1, description="Python of the environment that has pytest-testinfra.")
    files: list[str] = Field(min_length=1, description="Files of tests.")
    roles: list[str] = Field(default=[], description="Roles whose hosts are tested. Absent: all hosts.")


class ResourceFile(Fragment):
    """A persistent resource by Grenade's protocol: the program is called with a verb and a side."""

    program: list[str] = Field(min_length=1, description="Program and arguments; verb and side are added.")
    environment: dict[str, str] = Field(default={}, description="Added to its environment; no secrets.")


class JavelinFile(Fragment):
    """Persistent resources that a Javelin file describes."""

    file: str = Field(min_length=1, description="The Javelin file.")
    auth: AuthFile = Field(description="An administrator's account at Keystone.")


class SuiteFile(Fragment):
    """A part of the checks; exactly one of command, probe, tempest, testinfra, resource and javelin."""

    command: list[str] = Field(default=[], description="Program and arguments; exit code 0 is good. No shell.")
    probe: ServiceProbeFile | None = Field(default=None, description="What is asked once, written like a probe.")
    tempest: TempestFile | None = Field(default=None, description="Tests that stestr runs.")
    testinfra: TestinfraFile | None = Field(default=None, description="Tests of hosts.")
    resource: ResourceFile | None = Field(default=None, description="A persistent resource, by a program.")
    javelin: JavelinFile | None = Field(default=None, description="Persistent resources, by a Javelin file.")
    when: list[Literal["before", "during", "after"]] = Field(
        default=["before", "after"], min_length=1, description="When it is run. Resources: always."
    )
    timeout: StepTimeout = Field(default=1800.0, description="How long the whole may take. Absent: 30m.")
    known: ByRelease = Field(default={}, description="Ids (* for any letters) that are known to fail, by release.")
