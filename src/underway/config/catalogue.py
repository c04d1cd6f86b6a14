"""What spans the keys of services and releases: steps, handlers, needs, checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from underway.config import names
from underway.config.crosscheck import Known, Loc, duplicates, unknown
from underway.config.documents import ReleaseFile, ServiceFile, StepFile
from underway.config.gathering import check_gathering, check_numbers
from underway.config.graph import cycles
from underway.config.located import Document
from underway.config.manifests import check_bits
from underway.config.secrets import variables
from underway.config.tasks import check_task, check_tasks
from underway.config.words import one_of, path_text, shown
from underway.core.names import slug
from underway.core.versions import REPOSITORIES
from underway.errors import Problem


def check_service(doc: Document, service: ServiceFile, known: Known) -> Iterator[Problem]:
    """Everything that is wrong with one service beyond the shape of its keys (probes: ``underway.config.probes``)."""
    for key, listed in (("needs", service.needs), ("after", service.after)):
        for index, need in enumerate(listed):
            if known.complete:
                yield from unknown(doc, (key, index), need, "service", known.services, known.abstract)
        yield from duplicates(doc, (key,), listed)
    yield from variables(doc, ("vars",), service.vars)
    handlers = set(_handler_names(service))
    yield from _handlers(doc, service, handlers)
    if service.gate is not None:
        yield from check_task(doc, ("gate",), service.gate, handlers)
    for phase, spec in service.phases.items():
        if spec.on and known.complete:
            yield from unknown(doc, ("phases", phase, "on"), spec.on, "service", known.services, known.abstract)
        if spec.restarts and (phase != "finalize" or spec.once or spec.on):
            message = "'restarts' is for a finalize phase on each host itself"
            yield doc.problem(("phases", phase, "restarts"), "restarts", message, "leave it out")
        goes_down = phase in ("upgrade", "rollback") and not spec.on and not spec.once
        yield from _steps(doc, ("phases", phase), spec.steps, handlers, goes_down=goes_down)
    yield from check_bits(doc, service.bits)
    for action, what in service.actions.items():
        yield from _steps(doc, ("actions", action), what.steps, handlers, goes_down=True)


def _handler_names(service: ServiceFile) -> Iterator[str]:
    for handler in service.handlers:
        if isinstance(handler.get("name"), str):
            yield handler["name"]
        listen = handler.get("listen", [])
        yield from (one for one in (listen if isinstance(listen, list) else [listen]) if isinstance(one, str))


def _handlers(doc: Document, service: ServiceFile, handlers: set[str]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, handler in enumerate(service.handlers):
        yield from check_task(doc, ("handlers", index), handler, handlers)
        name = handler.get("name")
        if not isinstance(name, str) or not name.strip():
            yield doc.problem(("handlers", index), "handler", "the handler has no name", "tasks notify it by its name")
            continue
        first = seen.setdefault(slug(name), index)
        if first != index:
            line = doc.place(("handlers", first))[0]
            message = f"handler {shown(name)} stands twice: here and at line {line}"
            yield doc.problem(("handlers", index, "name"), "duplicate", message, "rename one")


def _steps(
    doc: Document, at: Loc, steps: Sequence[StepFile], handlers: set[str], *, goes_down: bool
) -> Iterator[Problem]:
    """``goes_down``: the host is out of service while these are done."""
    seen: dict[str, int] = {}
    for index, step in enumerate(steps):
        where: Loc = (*at, "steps", index)
        if not any(letter.isascii() and letter.isalnum() for letter in step.step):
            message = f"step {shown(step.step)} has no letter a-z and no digit"
            yield doc.problem((*where, "step"), "text", message, "the step's id is made of these")
        else:
            first = seen.setdefault(slug(step.step), index)
            if first != index:
                line = doc.place((*at, "steps", first, "step"))[0]
                message = f"step {shown(step.step)} stands twice in this phase: here and at line {line}"
                yield doc.problem((*where, "step"), "duplicate-step", message, "rename one")
        yield from check_numbers(doc, where, step)
        yield from check_gathering(doc, where, step)
        if not (step.idempotent or step.read_only or step.reboot or step.gathers) and step.check is None:
            message = f"step {shown(step.step)} says nothing about running twice: interrupted, it waits for an operator"
            hint = "add 'idempotent: true' if it may run again, or a 'check' that tells whether it happened"
            yield doc.problem((*where, "step"), "not-idempotent", message, hint, severity="warning")
        if step.reboot:
            for key in ("idempotent", "read_only", "check"):
                if key in step.model_fields_set:
                    message = f"step {shown(step.step)} reboots: its boot tells whether it happened, not {key!r}"
                    yield doc.problem((*where, key), "reboot", message, "leave it out")
            if not goes_down:
                message = f"step {shown(step.step)} reboots, in a place where hosts do not leave their service for it"
                hint = "have it in 'upgrade' or 'rollback' (without 'on' and 'once'), or in an action"
                yield doc.problem((*where, "reboot"), "reboot", message, hint)
        if step.check is not None:
            yield from check_task(doc, (*where, "check"), step.check)
        yield from check_tasks(doc, (*where, "tasks"), step.tasks, handlers)


def check_needs(files: Mapping[str, tuple[Document, ServiceFile]]) -> Iterator[Problem]:
    """Cycles among services, each at the place where it could be cut."""
    edges = {name: list(dict.fromkeys((*service.needs, *service.after))) for name, (_, service) in files.items()}
    for cycle in cycles(edges):
        doc, service = files[cycle[0]]
        key, listed = ("needs", service.needs) if cycle[1] in service.needs else ("after", service.after)
        message = f"the needs of services are a cycle: {path_text(cycle)}"
        yield doc.problem((key, listed.index(cycle[1])), "needs-cycle", message, "remove one of these")


def check_use(
    files: Mapping[str, tuple[Document, ServiceFile]], used: Mapping[str, Sequence[str]], shipped: Collection[str] = ()
) -> Iterator[Problem]:
    """Services that refer to services which no role runs. ``used``: hosts by service.

    ``shipped``: files of shipped catalogues, which name all that a cloud may have: who runs less need not hear of it.
    """
    for name, (doc, service) in files.items():
        if not used.get(name):
            continue
        for key, listed in (("needs", service.needs), ("after", service.after)):
            for index, need in enumerate(listed):
                if need in files and not used.get(need) and doc.origin((key, index)) not in shipped:
                    message = f"service {shown(need)} runs on no host: there is nothing to wait for"
                    yield doc.problem((key, index), "unused-service", message, severity="warning")
        for phase, spec in service.phases.items():
            if spec.on in files and not used.get(spec.on):
                message = f"phase {phase} works on the hosts of {shown(spec.on)}, which runs on none"
                hint = "add it to 'services' of a role that has hosts"
                yield doc.problem(("phases", phase, "on"), "unused-service", message, hint)


def _repositories(doc: Document, release: ReleaseFile) -> Iterator[Problem]:
    if release.repositories and REPOSITORIES in release.vars:
        message = f"{REPOSITORIES!r} is what 'repositories' makes"
        yield doc.problem(("vars", REPOSITORIES), "name-taken", message, "leave one of them out", of="key")
    for name, one in release.repositories.items():
        where: Loc = ("repositories", name)
        if one.snapshot and names.SNAPSHOT not in one.url:
            message = f"the url does not hold {names.SNAPSHOT}: every snapshot would be the same packages"
            yield doc.problem((*where, "url"), "snapshot", message, f"put {names.SNAPSHOT} where the snapshot stands")
        if names.SNAPSHOT in one.url and not one.snapshot:
            message = f"the url holds {names.SNAPSHOT}, and there is no 'snapshot'"
            yield doc.problem((*where, "url"), "snapshot", message, "name the snapshot")
        flat = one.suite.endswith("/")
        if flat == bool(one.components):
            message = (
                "a suite that ends with '/' has no components" if flat else f"suite {shown(one.suite)} needs components"
            )
            hint = "leave them out" if flat else "for example components: [main]"
            yield doc.problem((*where, "components" if flat else "suite"), "components", message, hint)


def check_release(doc: Document, release: ReleaseFile, known: Known) -> Iterator[Problem]:
    """Everything that is wrong with one release beyond the shape of its keys."""
    for index, source in enumerate(release.supports):
        if source == release.release:
            message = f"release {shown(source)} supports a jump from itself"
            yield doc.problem(("supports", index), "self-jump", message, "name the releases before it")
    yield from duplicates(doc, ("supports",), release.supports)
    for service in release.services:
        if known.complete and service not in known.services:
            hint = one_of(service, sorted(known.services), "services")
            yield doc.problem(
                ("services", service), "unknown-service", f"unknown service {shown(service)}", hint, of="key"
            )
    for subject in release.notes:
        wrong = names.name(subject, "subject")
        if wrong:
            yield doc.problem(("notes", subject), *wrong, of="key")
    yield from variables(doc, ("vars",), release.vars)
    yield from _repositories(doc, release)
    seen: dict[tuple[str, str], int] = {}
    for index, check in enumerate(release.checks):
        where: Loc = ("checks", index)
        if known.complete:
            yield from unknown(doc, (*where, "service"), check.service, "service", known.services, known.abstract)
        first = seen.setdefault((check.service, slug(check.check)), index)
        if first != index:
            line = doc.place(("checks", first, "check"))[0]
            message = f"check {shown(check.check)} stands twice: here and at line {line}"
            yield doc.problem((*where, "check"), "duplicate", message, "rename one")
        yield from check_task(doc, (*where, "task"), check.task)
