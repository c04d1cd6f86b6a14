"""Which file stands for a service, and which files it extends: over all directories of the catalogue, in their order.

A name means the nearest one before it: another file of the same directory, else the latest directory before that one.
So what a file extends never changes by a directory that is named after its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from underway.config.distributions import Distributions
from underway.config.extending import filled, joined
from underway.config.located import Document
from underway.config.words import one_of, path_text, shown
from underway.errors import Problem

MAX_LEVELS = 8
"""Services that extend one another: nobody finds through more."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A service file as it was read. ``rank``: the position of its directory in ``catalogue``."""

    doc: Document
    rank: int

    @property
    def name(self) -> str:
        """Its name; empty where it has none that could be one."""
        found = self.doc.value.get("service")
        return found if isinstance(found, str) else ""

    @property
    def extends(self) -> list[str]:
        """What it extends, the last over those before it; without what cannot be a name."""
        found = self.doc.value.get("extends", [])
        return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str)]

    @property
    def abstract(self) -> bool:
        return self.doc.value.get("abstract") is True


@dataclass(slots=True)
class Resolved:
    """A service of all its files. ``broken``: a file that it extends is not known, so nothing more is said of it."""

    doc: Document
    chain: tuple[Written, ...]
    broken: bool = False

    @property
    def written(self) -> Written:
        return self.chain[-1]


@dataclass(slots=True)
class Bases:
    """All service files that were read. ``unread``: names that a file which could not be read may have. ``names``: what
    differs by ``distribution``, in the order of the directories."""

    files: Sequence[Written]
    unread: frozenset[str] = frozenset()
    distribution: str = ""
    names: Sequence[Distributions] = ()
    problems: list[Problem] = field(default_factory=list)
    _named: dict[str, list[Written]] = field(default_factory=dict)

    def resolve(self) -> Iterator[Resolved]:
        """The file that stands for each service (abstract ones too), joined with those that it extends.

        What is wrong with names is then in ``problems``.
        """
        for file in self._standing():
            chain = self._chain(file)
            if chain is None:
                yield Resolved(file.doc, (file,), broken=True)
                continue
            parts = list(self._parts(chain, file.name))
            if len(parts) == 1:
                yield Resolved(parts[0], (file,))
                continue
            doc, problems = joined(parts)
            self.problems += [*problems, *_unsaid(doc, chain)]
            yield Resolved(doc, tuple(chain))

    def _parts(self, chain: Sequence[Written], name: str) -> Iterator[Document]:
        """The documents that are laid over one another: the chain's, and what differs by distribution behind those of
        its directory and the ones before it."""
        last = {
            data: max((i for i, one in enumerate(chain) if one.rank <= data.rank), default=-1) for data in self.names
        }
        for position, one in enumerate(chain):
            yield filled(one.doc, name) if one.abstract else one.doc
            for data in (data for data in self.names if last[data] == position):
                found = data.of(name, self.distribution)
                if found is not None:
                    yield found

    def _standing(self) -> Iterator[Written]:
        """One file a name: the latest, where each extends the one before it."""
        standing: dict[str, Written] = {}
        for file in self.files:
            key = file.name or file.doc.path  # one without a name is nobody's twin
            before = standing.get(key)
            if before is not None and not (file.name in file.extends and file.rank > before.rank):
                message = f"service {shown(file.name)} is also defined in {before.doc.path}: none overrides the other"
                hint = f"remove or rename one, or let this one say 'extends: {file.name}'"
                if file.rank == before.rank:
                    hint = "remove or rename one"
                self.problems.append(file.doc.problem(("service",), "defined-twice", message, hint))
                continue
            standing[key] = file
        yield from standing.values()

    def _chain(self, file: Written) -> list[Written] | None:
        """The files that are laid over one another, ``file`` last, each once; None with a problem where they are not
        known."""
        chain: list[Written] = []
        return chain if self._lay(file, (), chain) else None

    def _lay(self, file: Written, above: tuple[Written, ...], chain: list[Written]) -> bool:
        """Put the bases of ``file`` and itself at the end of ``chain``. ``above``: those that extend it."""
        if file in above:
            names = [one.name for one in (*above[above.index(file) :], file)]
            self._wrong(above[-1], file.name, f"services extend each other in a circle: {path_text(names)}", "cut it")
            return False
        if len(above) >= MAX_LEVELS:
            message = f"more than {MAX_LEVELS} services extend each other here"
            self._wrong(above[-1], file.name, message, "join some of them")
            return False
        whole = True
        for name in file.extends:
            base = self._base(file, name)
            whole = base is not None and self._lay(base, (*above, file), chain) and whole
        if file not in chain:
            chain.append(file)
        return whole

    def _base(self, file: Written, name: str) -> Written | None:
        """The file that ``file`` means by ``name``."""
        named = [one for one in self._by_name().get(name, ()) if one is not file]
        limit = file.rank - 1 if name == file.name else file.rank
        near = [one for one in named if one.rank <= limit]
        if near:
            return max(near, key=lambda one: one.rank)
        if name in self.unread:
            return None  # it has its own message
        if named:
            message = f"{shown(name)} is in {named[0].doc.path}, of a directory that 'catalogue' names after this one"
            self._wrong(file, name, message, "name that directory before this one")
        elif name == file.name:
            message = f"service {shown(name)} extends itself, and no directory before this one has it"
            self._wrong(file, name, message, "name the directory that has it before this one in 'catalogue'")
        else:
            valid = sorted({one.name for one in self.files if one.rank <= file.rank} - {file.name, ""})
            self._wrong(file, name, f"unknown service {shown(name)}", one_of(name, valid, "services"))
        return None

    def _by_name(self) -> dict[str, list[Written]]:
        if not self._named:
            for one in self.files:
                self._named.setdefault(one.name, []).append(one)
        return self._named

    def _wrong(self, file: Written, name: str, message: str, hint: str) -> None:
        """A problem where ``file`` says that it extends ``name``."""
        listed = file.doc.value["extends"]
        at = ("extends", listed.index(name)) if isinstance(listed, list) else ("extends",)
        problem = file.doc.problem(at, "extends", message, hint)
        if problem not in self.problems:
            self.problems.append(problem)


def _unsaid(doc: Document, chain: Sequence[Written]) -> Iterator[Problem]:
    """Variables that a base leaves to those who extend it, and that are still without a value."""
    values = doc.value.get("vars")
    if chain[-1].abstract or not isinstance(values, dict):
        return
    left = {one.doc.path for one in chain if one.abstract}
    for name, value in values.items():
        path = doc.origin(("vars", name))
        if value is None and path in left:
            line = doc.place(("vars", name))[0]
            message = f"{shown(name)} has no value: the base leaves it open ({path}:{line})"
            yield doc.problem(("service",), "extends", message, "give it a value in 'vars'")
