"""The way in: ``load("cluster.yaml")`` gives the cluster and its catalogue, or every mistake of all files at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from underway.config import build, probes, shipped
from underway.config.bases import Bases, Resolved, Written
from underway.config.catalogue import check_needs, check_release, check_service, check_use
from underway.config.checks import Checks
from underway.config.crosscheck import Known, check_cluster, known_of
from underway.config.distributions import Distributions, DistributionsFile, check_distribution
from underway.config.documents import ClusterFile, ReleaseFile, ServiceFile
from underway.config.faults import examine
from underway.config.fragment import Fragment
from underway.config.limits import check_limits
from underway.config.lint import check_migrations, check_selected
from underway.config.located import Document
from underway.config.manifests import read_manifest
from underway.config.names import Wrong
from underway.config.paths import inside, root_of
from underway.config.reading import MAX_BYTES, MAX_SMALL_BYTES, read
from underway.config.storefile import build_store
from underway.config.words import one_of, shown, shown_path
from underway.core.model.check import Suite
from underway.core.model.cluster import Cluster, Probe
from underway.core.model.service import Catalogue, Release
from underway.errors import FileProblems, Problem
from underway_agent.kv.address import Access

CLUSTER_FILE = "cluster.yaml"
MAX_FILES = 2000

F = TypeVar("F", bound=Fragment)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the files say.

    ``digests``: SHA-256 by part of the input (cluster, catalogue, groups, hosts, policy, probes, releases, roles,
    settings). ``problems``: warnings only. ``directory``: where the cluster's file lies, absolute.
    ``checks``: the suites of ``underway check``; no plan depends on them. ``store``: where the records lie; None: in
    the state directory.
    """

    cluster: Cluster
    catalogue: Catalogue
    digests: dict[str, str]
    problems: tuple[Problem, ...] = ()
    directory: Path = Path()
    checks: dict[str, Suite] = field(default_factory=dict)
    store: Access | None = None


@dataclass(slots=True)
class _File(Generic[F]):
    """A file that could be read, and what of it is usable."""

    doc: Document
    base: Path
    fragment: F | None


@dataclass(slots=True)
class _Files:
    """All files of a cluster, and what is wrong with them so far."""

    path: Path
    cluster: _File[ClusterFile] | None = None
    services: dict[str, _File[ServiceFile]] = field(default_factory=dict)
    abstract: dict[str, _File[ServiceFile]] = field(default_factory=dict)
    releases: dict[str, _File[ReleaseFile]] = field(default_factory=dict)
    directories: dict[str, Path] = field(default_factory=dict)
    """Where service files are, by the path that messages show."""
    known: Known = field(default_factory=Known)
    problems: list[Problem] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.path.parent


def load(path: Path | str) -> Inputs:
    """Read ``cluster.yaml`` (or the one in a directory) and the services and releases that it names.

    Raises ``FileProblems`` with every problem of all files, in reading order, warnings included; where there are
    warnings only, they are in ``Inputs.problems``. Names no host and starts nothing.
    """
    given = Path(path)
    files = _Files(given / CLUSTER_FILE if given.is_dir() else given)
    _read_cluster(files)
    _read_services(files)
    _read_releases(files)
    _cross(files)
    named, templates = _probes(files)
    whole = None
    if not _errors(files.problems):
        whole = _build(files, named, templates)
    problems = _ordered(files)
    if whole is None or _errors(problems):
        raise FileProblems(problems)
    cluster, catalogue, suites, store = whole
    digests = build.digests_of(cluster, catalogue)
    return Inputs(cluster, catalogue, digests, tuple(problems), files.base.resolve(), suites, store)


def _errors(problems: Iterable[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def _read(files: _Files, path: Path, kind: type[F], limit: int) -> _File[F] | None:
    """One file; its problems are noted, and None is given where nothing of it could be read."""
    doc = _document(files, path, limit)
    return None if doc is None else _File(doc, path.parent, _examined(files, doc, kind))


def _document(files: _Files, path: Path, limit: int) -> Document | None:
    try:
        doc = read(path, shown_path(path), limit)
    except FileProblems as error:
        files.problems.extend(error.problems)
        return None
    files.problems.extend(doc.problems)
    return doc


def _examined(files: _Files, doc: Document, kind: type[F]) -> F | None:
    fragment, problems = examine(doc, kind)
    # what the reading itself refused has no value to speak of: its second message would only be noise
    refused = {(one.path, one.line, one.column) for one in files.problems if one.severity == "error"}
    files.problems.extend(one for one in problems if (one.path, one.line, one.column) not in refused)
    return fragment


def _read_cluster(files: _Files) -> None:
    files.cluster = _read(files, files.path, ClusterFile, MAX_BYTES)
    if files.cluster is None:
        files.known.complete = False
    else:
        files.known = known_of(files.cluster.doc.value)


def _directory(files: _Files, text: str, at: tuple[str | int, ...], *, must_exist: bool) -> Path | None:
    """A directory that ``cluster.yaml`` names, as it is shown in messages; None with a problem where there is none."""
    found = inside(text, files.base, files.base)
    severity, wrong = "error", None
    if isinstance(found, Wrong):
        wrong = found
    elif not found.is_dir():
        wrong = Wrong("missing", f"directory {shown(text)} does not exist", "make it, or name another")
        severity = "error" if must_exist else "warning"
    if wrong is None:
        return Path(text) if Path(text).is_absolute() else files.base / text
    files.known.complete = False
    if files.cluster is None:
        files.problems.append(Problem(shown_path(files.path), 0, 0, *wrong))
    elif severity == "error":
        files.problems.append(files.cluster.doc.problem(at, *wrong))
    else:
        files.problems.append(files.cluster.doc.problem(at, *wrong, severity="warning"))
    return None


def _catalogue(files: _Files, text: str, index: int) -> Path | None:
    """A directory of services: one of the cluster's, or else a catalogue that is shipped.

    A directory comes first, so that no later version of the program can put a catalogue in its place unseen.
    """
    found = shipped.directory(text)
    at = ("catalogue", index)
    if (files.base / text).is_dir() or "/" in text:
        if found is not None and files.cluster is not None:
            message = f"{shown(text)} is a directory here and a shipped catalogue, too: the directory is read"
            hint = f"write './{text}' to say so, or rename it to use the catalogue"
            files.problems.append(files.cluster.doc.problem(at, "catalogue", message, hint, severity="warning"))
        return _directory(files, text, at, must_exist=True)
    if found is not None or files.cluster is None:
        return found
    files.known.complete = False
    message = f"{shown(text)} is neither a directory nor a shipped catalogue"
    directories = [path.name for path in files.base.iterdir() if path.is_dir() and not path.name.startswith(".")]
    hint = one_of(text, sorted({*shipped.names(), *directories}), "catalogues")
    files.problems.append(files.cluster.doc.problem(at, "missing", message, hint))
    return None


def _yaml_files(files: _Files, directory: Path) -> Iterator[Path]:
    """The YAML files of a directory, in order of name; links that lead out of it are refused."""
    count = 0
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.suffix not in (".yaml", ".yml"):
            continue
        count += 1
        if count > MAX_FILES:
            message = f"more than {MAX_FILES:,} files"
            files.problems.append(Problem(shown_path(directory), 0, 0, "too-big", message))
            return
        root = root_of(directory, files.base)
        found = inside(path.name, directory, root)
        if isinstance(found, Wrong):
            files.problems.append(Problem(shown_path(path), 0, 0, found.code, "the link leads out of the directory"))
            continue
        yield path


def _read_services(files: _Files) -> None:
    fragment = files.cluster.fragment if files.cluster is not None else None
    written: list[Written] = []
    names: list[Distributions] = []
    unread: set[str] = set()
    directories = fragment.catalogue if fragment is not None else ["services"]
    for index, text in enumerate(directories):
        if files.cluster is None and not (files.base / text).is_dir():
            continue  # the file that would say where services are has its own message
        directory = _catalogue(files, text, index)
        for path in _yaml_files(files, directory) if directory is not None else ():
            doc = _document(files, path, MAX_SMALL_BYTES)
            if doc is None:
                unread.add(path.stem)
                continue
            files.directories[doc.path] = path.parent
            if "distributions" in doc.value:
                data = _examined(files, doc, DistributionsFile)
                names += [Distributions(doc, index, data)] if data is not None else []
                continue
            written.append(Written(doc, index))
    bases = Bases(written, frozenset(unread), fragment.distribution if fragment is not None else "", names)
    for service in bases.resolve():
        _service(files, service)
    files.problems.extend(bases.problems)
    if files.cluster is not None and files.known.complete:
        files.problems.extend(check_distribution(files.cluster.doc, bases.distribution, names))
        for one in names:
            files.problems.extend(one.problems([*files.known.services]))
    for stem in unread:
        files.known.services.setdefault(stem, None)


def _service(files: _Files, found: Resolved) -> None:
    """A service of the catalogue; one that is not whole is known by its name only."""
    doc, path = found.doc, found.written.doc.path
    fragment = None if found.broken else _examined(files, doc, ServiceFile)
    if fragment is not None and found.written.name:
        kind = files.abstract if fragment.abstract else files.services
        kind[found.written.name] = _File(doc, files.directories[path], fragment)
    if fragment is not None and fragment.abstract:
        files.known.abstract.add(fragment.service)
    else:
        files.known.services[found.written.name or Path(path).stem] = fragment


def _read_releases(files: _Files) -> None:
    cluster = files.cluster
    text = cluster.fragment.releases if cluster is not None and cluster.fragment is not None else "releases"
    if cluster is None and not (files.base / text).is_dir():
        return
    stated = cluster is not None and "releases" in cluster.doc.value
    complete = files.known.complete
    directory = _directory(files, text, ("releases",), must_exist=stated)
    files.known.complete = complete  # that there are no releases makes no service unknown
    for path in _yaml_files(files, directory) if directory is not None else ():
        file = _read(files, path, ReleaseFile, MAX_SMALL_BYTES)
        name = file.doc.value.get("release") if file is not None else None
        if file is None or file.fragment is None or not isinstance(name, str):
            files.known.targets.add(path.stem)
            continue
        first = files.releases.setdefault(name, file)
        if first is not file:
            message = f"release {shown(name)} is also defined in {first.doc.path}: none overrides the other"
            files.problems.append(file.doc.problem(("release",), "defined-twice", message, "remove or rename one"))
        files.known.targets.add(name)
        files.known.sources.update(file.fragment.supports)
    if directory is not None and not files.known.targets and cluster is not None:
        message = f"no release in {shown(text)}: there is nothing to upgrade to"
        files.problems.append(cluster.doc.problem(("releases",), "no-releases", message, severity="warning"))


def _services(files: _Files) -> dict[str, tuple[Document, ServiceFile]]:
    return _whole(files.services)


def _whole(named: dict[str, _File[ServiceFile]]) -> dict[str, tuple[Document, ServiceFile]]:
    return {name: (file.doc, file.fragment) for name, file in named.items() if file.fragment is not None}


def _used(files: _Files) -> dict[str, list[str]]:
    """Hosts by service."""
    used: dict[str, list[str]] = {}
    cluster = files.cluster.fragment if files.cluster is not None else None
    if cluster is not None:
        for name, host in cluster.hosts.items():
            role = cluster.roles.get(host.role)
            for service in role.services if role is not None else ():
                used.setdefault(service, []).append(name)
    return used


def _cross(files: _Files) -> None:
    cluster = files.cluster
    found = files.problems
    if cluster is not None and cluster.fragment is not None:
        found.extend(check_cluster(cluster.doc, cluster.fragment, files.known))
        found.extend(check_limits(cluster.doc, cluster.fragment, files.known))
        for name, host in cluster.fragment.hosts.items():
            if host.python or host.directory or host.connection != "ssh":
                found.extend(build.check_paths(cluster.doc, name, host, files.base))
    services = _services(files)
    for doc, service in (*services.values(), *_whole(files.abstract).values()):
        found.extend(check_service(doc, service, files.known))
        found.extend(check_migrations(doc, service))
    found.extend(check_needs(services))
    if not any(problem.code == "unknown-service" for problem in found):
        ours = {path for path, directory in files.directories.items() if shipped.HOME in directory.parents}
        found.extend(check_use(services, _used(files), ours))
        if cluster is not None and cluster.fragment is not None:
            found.extend(check_selected(cluster.fragment, services, _used(files)))
    for file in files.releases.values():
        if file.fragment is not None:
            found.extend(check_release(file.doc, file.fragment, files.known))


def _probes(files: _Files) -> tuple[dict[str, Probe], dict[str, dict[str, Probe]]]:
    """The cluster's probes by name, and the templates of services by service and name."""
    named: dict[str, Probe] = {}
    templates: dict[str, dict[str, Probe]] = {}
    cluster = files.cluster
    if cluster is not None and cluster.fragment is not None:
        known = files.known
        for name, probe in cluster.fragment.probes.items():
            at = ("probes", name)
            wrong = list(probes.check_shape(cluster.doc, at, probe))
            wrong += probes.check_names(cluster.doc, at, probe, known.services if known.complete else None, known.hosts)
            paths, missing = probes.files_of(cluster.doc, at, probe, cluster.base, files.base)
            if not _errors(wrong) and probes.is_whole(probe):
                named[name] = probes.build_named(name, probe, paths)
                wrong += probes.check_targets(cluster.doc, at, named[name])
            files.problems += [*wrong, *missing]
    for service, (doc, written) in _services(files).items():
        templates[service] = {}
        for name, template in written.probes.items():
            at = ("probes", name)
            wrong = list(probes.check_shape(doc, at, template))
            base = files.directories[doc.origin(at)]  # paths are relative to the file that names them
            paths, missing = probes.files_of(doc, at, template, base, files.base)
            if not _errors(wrong) and probes.is_whole(template):
                made = probes.build(name, template, paths, service, "")
                templates[service][name] = made
                if not probes.is_template(made):
                    message = f"probe '{name}' asks the same of every host"
                    hint = "use {address}, {host} or a variable; what asks the whole service belongs to cluster.yaml"
                    wrong.append(doc.problem(at, "probe-template", message, hint))
            files.problems += [*wrong, *missing]
    return named, templates


def _build(
    files: _Files, named: dict[str, Probe], templates: dict[str, dict[str, Probe]]
) -> tuple[Cluster, Catalogue, dict[str, Suite], Access | None] | None:
    assert files.cluster is not None and files.cluster.fragment is not None
    written = files.cluster.fragment
    cluster = build.build_cluster(written, files.base, named)
    services = _services(files)
    expanded, problems = build.expand_probes(written, cluster.hosts, services, templates, _used(files))
    files.problems += problems
    checks = Checks(files.cluster.doc, files.base, cluster.hosts, cluster.roles)
    suites = checks.build(written.checks)
    files.problems += checks.problems
    catalogue = Catalogue(
        services={name: build.build_service(service) for name, (_, service) in sorted(services.items())},
        releases={name: _release(files, file) for name, file in sorted(files.releases.items()) if file.fragment},
    )
    if expanded:
        cluster = build.build_cluster(written, files.base, {**named, **expanded})
    store, wrong = build_store(files.cluster.doc, written.store, files.base)
    files.problems += wrong
    return cluster, catalogue, suites, store


def _release(files: _Files, file: _File[ReleaseFile]) -> Release:
    """A release, with the lists that it names."""
    assert file.fragment is not None
    if file.fragment.manifest is None:
        return build.build_release(file.fragment)
    root = root_of(file.base, files.base)
    manifest, problems = read_manifest(file.doc, file.fragment.manifest, file.base, root)
    files.problems += problems
    return build.build_release(file.fragment, manifest)


def _ordered(files: _Files) -> list[Problem]:
    """In reading order, cluster first; a warning gives way to an error at the same place.

    What is wrong with a base is wrong with all that extend it: of what differs in their names only, the first is told.
    """
    wrong = {(one.path, one.line, one.column) for one in files.problems if one.severity == "error"}
    kept = [
        one
        for one in dict.fromkeys(files.problems)
        if one.severity == "error" or (one.path, one.line, one.column) not in wrong
    ]
    bases = {file.doc.path for file in files.abstract.values()}
    told = {(one.path, one.line, one.column, one.code): one for one in reversed(kept) if one.path in bases}
    kept = [one for one in kept if one.path not in bases or one is told[one.path, one.line, one.column, one.code]]
    return sorted(
        kept,
        key=lambda one: (one.path != shown_path(files.path), one.path, one.line, one.column, one.code, one.message),
    )
