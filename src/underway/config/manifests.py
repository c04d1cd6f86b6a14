"""What hosts are made of, read from lists that other tools write: ``dpkg-query -W``, ``rpm -qa``, ``pip freeze``,
``sha256sum``, classes with their versions. Nothing is guessed: a line that cannot be read is told with its number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from pydantic import Field

from underway.config.fragment import Fragment
from underway.config.located import Document, decoded
from underway.config.names import Wrong
from underway.config.paths import inside
from underway.config.reading import read_bytes
from underway.config.words import shown, shown_path
from underway.core.model.manifest import Kind, Manifest
from underway.errors import FileProblems, Problem

MAX_LIST = 64 * 1024 * 1024
"""Longest list: the files of a whole image."""

MAX_LINES = 1_000_000
MAX_LINE = 4096
MAX_PROBLEMS = 20
"""Lines that are told of one list; a list with more is none of these."""

Item = tuple[str, str]
Parse = Callable[[str], Item | None]
"""A line to (item, version), None for a line that says nothing; raises ``ValueError`` with what was expected."""

_WORD = re.compile(r"\S{1,1024}")
_RPM = re.compile(r"(?P<name>\S+)-(?P<version>[^-\s]+-[^-\s]+?)(?:\.(?:noarch|x86_64|aarch64|i686|ppc64le|s390x|src))?")
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:===?\s*(?P<version>\S+)|@\s*(?P<url>\S.*))")
_EGG = re.compile(r"-e\s+(?P<url>\S+?)#egg=(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\S*")
_SUM = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{32,128}) [ *](?P<name>\S.*)")
_SETTING = re.compile(r"[0-9a-f]{32}")


class ManifestFile(Fragment):
    """Lists of what the hosts of a release are made of; of several files of a kind all count."""

    dpkg: list[str] = Field(default=[], description="Outputs of 'dpkg-query -W' or 'dpkg -l'.")
    rpm: list[str] = Field(default=[], description="Outputs of 'rpm -qa'.")
    environments: dict[str, str] = Field(default={}, description="Outputs of 'pip freeze', by environment.")
    images: dict[str, str] = Field(default={}, description="Outputs of 'sha256sum' over an image's files, by image.")
    classes: list[str] = Field(default=[], description="Lists of Puppet classes: 'CLASS VERSION' a line.")
    settings: str = Field(default="", description="What 'underway manifest --settings' wrote.")


def dpkg_line(line: str) -> Item | None:
    """``keystone\\t2:27.0`` of ``dpkg-query -W``, ``ii  keystone  2:27.0  all  ...`` of ``dpkg -l``."""
    words = line.split()
    if line.startswith(("Desired=", "| ", "|/", "||/", "+++-")):
        return None
    if len(words) == 2:
        return words[0].partition(":")[0], words[1]
    if len(words) == 1 and "\t" in line:
        return None  # known, and not installed
    if len(words) >= 4 and re.fullmatch(r"[uirph][ncHUFWti][R]?", words[0]):
        return (words[1].partition(":")[0], words[2]) if words[0][1] == "i" else None
    raise ValueError("expected 'PACKAGE VERSION', as 'dpkg-query -W' writes it")


def rpm_line(line: str) -> Item | None:
    """``openstack-keystone-27.0.0-1.el9.noarch`` of ``rpm -qa``, or ``NAME VERSION`` of a format of one's own."""
    words = line.split()
    if len(words) == 2:
        return words[0], words[1]
    found = _RPM.fullmatch(line.strip())
    if found is None:
        raise ValueError("expected 'NAME-VERSION-RELEASE.ARCH', as 'rpm -qa' writes it")
    return None if found["name"] == "gpg-pubkey" else (found["name"], found["version"])


def freeze_line(line: str) -> Item | None:
    """``keystone==27.0.0``, ``keystone @ file:///...`` or ``-e git+...#egg=keystone`` of ``pip freeze``."""
    text = line.strip()
    if text.startswith("#"):
        return None
    found = _PIN.fullmatch(text.split(" #")[0].split(" ;")[0].strip()) or _EGG.fullmatch(text)
    if found is None:
        raise ValueError("expected 'NAME==VERSION', as 'pip freeze' writes it")
    parts = found.groupdict()
    return re.sub(r"[-_.]+", "-", found["name"]).lower(), parts.get("version") or found["url"]


def sum_line(line: str) -> Item | None:
    """``DIGEST  PATH`` of ``sha256sum`` and its like."""
    found = _SUM.fullmatch(line)
    if found is None:
        raise ValueError("expected 'DIGEST  PATH', as 'sha256sum' writes it (a name alone hides that a file changed)")
    return found["name"].removeprefix("."), found["digest"].lower()


def class_line(line: str) -> Item | None:
    """``keystone::wsgi 24.0.0``: a class, and the version of what it is written in."""
    words = line.split()
    if words[0].startswith("#"):
        return None
    if len(words) != 2:
        raise ValueError("expected 'CLASS VERSION' (a name alone hides that the class changed)")
    return words[0], words[1]


class _Reader:
    """Lists of one release, and what is wrong with them."""

    def __init__(self, doc: Document, base: Path, root: Path) -> None:
        self.doc, self.base, self.root = doc, base, root
        self.problems: list[Problem] = []
        self.lists: dict[Kind, dict[str, set[str]]] = {}

    def path(self, text: str, *at: str | int) -> Path | None:
        """Where a list lies; None with a problem where it may not lie there."""
        found = inside(text, self.base, self.root)
        if isinstance(found, Wrong):
            self.problems.append(self.doc.problem(("manifest", *at), *found))
            return None
        return self.base / text

    def bytes(self, text: str, *at: str | int) -> tuple[Path, bytes] | None:
        """A list as it lies there; None with a problem where there is none."""
        path = self.path(text, *at)
        if path is None:
            return None
        try:
            return path, read_bytes(path, shown_path(path), MAX_LIST)
        except FileProblems as error:
            for one in error.problems:
                message = f"{shown(text)}: {one.message}"
                self.problems.append(self.doc.problem(("manifest", *at), one.code, message, "make it, or leave it out"))
            return None

    def add(self, kind: Kind, text: str, parse: Parse, *at: str | int, within: str = "") -> None:
        """The items of one list. ``within``: the environment or image that it is of."""
        found = self.bytes(text, *at)
        if found is None:
            return
        path, data = found
        try:
            lines = decoded(data, shown_path(path)).splitlines()
        except FileProblems as error:
            self.problems += error.problems
            return
        told, count = 0, 0
        mine = self.lists.setdefault(kind, {})
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                if number > MAX_LINES or len(line) > MAX_LINE:
                    raise ValueError(f"expected at most {MAX_LINES:,} lines of {MAX_LINE:,} characters")
                item = parse(line)
                if item is not None and not (_WORD.match(item[0]) and item[0].isprintable() and item[1].isprintable()):
                    raise ValueError("expected names and versions of printable characters")
            except ValueError as error:
                told += 1
                wrong = f"{error}; found {shown(line)}"
                self.problems.append(Problem(shown_path(path), number, 1, "manifest", wrong, field="manifest"))
                if told == MAX_PROBLEMS or number > MAX_LINES:
                    return
                continue
            if item is not None:
                count += 1
                mine.setdefault(f"{within}:{item[0]}" if within else item[0], set()).add(item[1])
        if not count and not told:
            wrong = "the list is empty: then all that is installed would be gone"
            hint = "see how it was made, or leave it out"
            self.problems.append(Problem(shown_path(path), 1, 1, "manifest", wrong, hint, "manifest"))

    def settings(self, text: str) -> None:
        """The digests that ``underway manifest --settings`` wrote."""
        found = self.bytes(text, "settings")
        if found is None:
            return
        path, data = found
        try:
            read = msgspec.json.decode(data, type=dict[str, list[str]], strict=True)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read = {"": []}
        if not all(name and digests and all(map(_SETTING.fullmatch, digests)) for name, digests in read.items()):
            wrong = "expected what 'underway manifest --settings' writes: digests by name of setting"
            self.problems.append(Problem(shown_path(path), 1, 1, "manifest", wrong, "write it anew", "manifest"))
            return
        self.lists["settings"] = {name: set(digests) for name, digests in read.items()}


def read_manifest(
    doc: Document, written: ManifestFile, base: Path, root: Path
) -> tuple[Manifest | None, list[Problem]]:
    """The lists of a release file in ``base``, below the cluster's directory ``root``; and what is wrong with them."""
    reader = _Reader(doc, base, root)
    for key, parse in (("dpkg", dpkg_line), ("rpm", rpm_line)):
        for index, text in enumerate(getattr(written, key)):
            reader.add("packages", text, parse, key, index)
    for name, text in written.environments.items():
        reader.add("environments", text, freeze_line, "environments", name, within=name)
    for name, text in written.images.items():
        reader.add("images", text, sum_line, "images", name, within=name)
    for index, text in enumerate(written.classes):
        reader.add("classes", text, class_line, "classes", index)
    if written.settings:
        reader.settings(written.settings)
    for key in ("environments", "images"):
        for name in getattr(written, key):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
                wrong = f"{shown(name)}: expected a name of letters, digits, '.', '_' and '-'"
                reader.problems.append(doc.problem(("manifest", key, name), "name", wrong, of="key"))
    if reader.problems:
        return None, reader.problems
    return Manifest(lists={kind: _sorted(items) for kind, items in reader.lists.items()}), []


def _sorted(items: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(versions)) for name, versions in sorted(items.items())}


def check_bits(doc: Document, bits: dict[Kind, list[str]]) -> Iterator[Problem]:
    """What is wrong with a service's ``bits``."""
    for kind, patterns in bits.items():
        if not patterns:
            wrong = f"no pattern: of {kind} it would never change"
            yield doc.problem(("bits", kind), "bits", wrong, "leave the kind out, or write what it is made of")
