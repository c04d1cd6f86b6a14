"""The files of an import. The only part of this importer that touches the disk, and it only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from underway.config.located import Document
from underway.config.reading import MAX_SMALL_BYTES, read, read_bytes
from underway.config.words import shown, shown_path
from underway.errors import FileProblems, Problem
from underway.importers.spinalstack import snippets
from underway.importers.spinalstack.snippets import Snippet

SHARED = ("all", "all.yml", "all.yaml")
"""Names of files of variables that are for every distribution, as in ``group_vars``."""

_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Files:
    """Where everything is."""

    infra: Path
    env: Path | None
    upgrade_map: Path
    snippets: Path
    variables: tuple[Path, ...]
    helpers: Path


@dataclass(frozen=True, slots=True)
class Documents:
    """What was read; a file that could not be is in ``problems``, and nothing in its place."""

    infra: Document | None
    env: Document | None
    upgrade_map: Document | None
    snippets: dict[str, Snippet]
    shared: dict[str, Document]
    distributions: dict[str, Document]
    problems: list[Problem]


def documents(files: Files) -> Documents:
    """Read all files, so that all mistakes of all of them are told at once."""
    problems: list[Problem] = []
    shared: dict[str, Document] = {}
    distributions: dict[str, Document] = {}
    for path in files.variables:
        found = _document(path, problems)
        if found is None:
            continue
        name = path.name.removesuffix(".yml").removesuffix(".yaml")
        if path.name in SHARED:
            shared[shown_path(path)] = found
        elif name in distributions:
            hint = "each file of variables is named for a distribution (RedHat), or 'all' for those of every one"
            problems.append(Problem(found.path, 0, 0, "twice", f"a second file for {shown(name)}", hint))
        else:
            distributions[name] = found
    return Documents(
        infra=_document(files.infra, problems),
        env=_document(files.env, problems) if files.env is not None else None,
        upgrade_map=_document(files.upgrade_map, problems),
        snippets=_snippets(files.snippets, problems),
        shared=shared,
        distributions=distributions,
        problems=problems,
    )


def _document(path: Path, problems: list[Problem]) -> Document | None:
    try:
        found = read(path, shown_path(path), MAX_SMALL_BYTES)
    except FileProblems as error:
        problems += _said(error.problems, path)
        return None
    snippets.old_truths(found)
    return found


def _said(found: Sequence[Problem], path: Path) -> list[Problem]:
    """The problems, with what they mean in these files: no example of ours helps, and links may have become text."""
    result = []
    for problem in found:
        hint = "" if "underway init" in problem.hint or "split the cluster" in problem.hint else problem.hint
        if problem.code == "shape":
            named = path.read_bytes()[:300].decode("utf-8", "replace").strip()
            if named and "\n" not in named and (path.parent / named).is_file():
                hint = f"it holds the path of another file: give {path.parent / named}"
        result.append(
            Problem(
                problem.path, problem.line, problem.column, problem.code, problem.message, hint, problem.field,
                problem.severity,
            )
        )  # fmt: skip
    return result


def _snippets(directory: Path, problems: list[Problem]) -> dict[str, Snippet]:
    found: dict[str, Snippet] = {}
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in _ENDINGS)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.append(Problem(shown_path(directory), 0, 0, "unreadable", f"cannot be listed: {reason}"))
        return found
    for path in paths:
        try:
            data = read_bytes(path, shown_path(path), MAX_SMALL_BYTES)
        except FileProblems as error:
            snippet = Snippet(path.stem, Document(shown_path(path), {snippets.ROOT: []}, {}))
            snippet.problems = _said(error.problems, path)
        else:
            snippet = snippets.understand(path.stem, shown_path(path), data)
        other = found.setdefault(path.stem, snippet)
        if other is not snippet:
            message = f"a second file for snippet {shown(path.stem)}; the first is {other.document.path}"
            problems.append(Problem(shown_path(path), 0, 0, "twice", message, "keep one of them"))
    if not found:
        hint = "give the directory with edeploy.yaml and the others"
        problems.append(Problem(shown_path(directory), 0, 0, "empty", "no snippets (*.yaml) are there", hint))
    return found


def helper(directory: Path, name: str) -> bytes | None:
    """The bytes of a helper file, or None where there is none. Raises ``FileProblems`` for one that cannot be read."""
    path = directory / name
    if not path.exists():
        return None
    return read_bytes(path, shown_path(path), MAX_SMALL_BYTES)
