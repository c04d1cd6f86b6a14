"""The exported tree: what a run executes, so that ``ansible-playbook`` alone can do it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from underway.core.model.base import canonical, digest
from underway.core.model.plan import Plan
from underway.errors import InputError
from underway.render.batches import sizes
from underway.render.inventory import SCRIPT, dynamic_data, static, variable_files
from underway.render.names import by_hand_file, leg_file, rollback_file
from underway.render.playbook import by_hand_playbook, leg_playbook, rollback_playbook
from underway.render.readme import readme
from underway.render.seal import seal
from underway.render.site import PASSES, site
from underway.render.variables import Variables

MARK = ".underway-export.json"
"""Names and SHA-256 of the files that we wrote: how we know a directory (and a file) as ours."""

EXECUTABLE = frozenset({"inventory/underway.py"})


def export(plan: Plan, directory: Path) -> tuple[str, ...]:
    """Write the tree of ``plan`` (sealed or not) into ``directory``; returns the paths written, sorted.

    The directory is made (0700) or must be empty, or hold an earlier export of which no file was changed since: files
    of that one which are not needed any more are removed. Raises ``InputError`` otherwise; then nothing was changed.
    """
    files = rendered(plan)
    before = _before(directory)
    for name in sorted(files.keys() - before.keys()):
        if (directory / name).exists() or (directory / name).is_symlink():
            raise InputError(f"{directory / name}: not ours (move it away, or choose another directory)")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    after = {name: [digest(data)] for name, data in files.items()}
    # the mark goes first and takes old and new content as ours: an export that is cut short can be repeated
    both = {name: [*before.get(name, ()), *after.get(name, ())] for name in before.keys() | after.keys()}
    _write(directory / MARK, _mark(both), 0o600)
    for name in sorted(before.keys() - files.keys()):
        (directory / name).unlink(missing_ok=True)
        _prune(directory, PurePosixPath(name).parents)
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, data, 0o700 if name in EXECUTABLE else 0o600)
    _write(directory / MARK, _mark(after), 0o600)
    return tuple(sorted(files))


def rendered(plan: Plan) -> dict[str, bytes]:
    """Path -> bytes of the whole tree. The playbooks are byte for byte those that the signed plan names."""
    plan = seal(plan)
    variables = Variables(plan)
    files: dict[str, bytes] = {"site.yml": site(plan), "plan.json": canonical(plan)}
    for role in sorted({found.role for found in plan.passes.values()}):
        files[f"role-{role}.yml"] = site(plan, role)
    for found in plan.passes.values():
        for number in range(len(found.legs)):
            files[f"{PASSES}/{leg_file(found, number)}"] = leg_playbook(variables, found, number)
    for role in sorted(plan.rollback):
        files[f"{PASSES}/{rollback_file(role)}"] = rollback_playbook(variables, role)
    for role in sorted(plan.by_hand):
        files[f"{PASSES}/{by_hand_file(role)}"] = by_hand_playbook(variables, role)
    files |= {f"inventory/{name}": data for name, data in variable_files(plan).items()}
    files["inventory/hosts.yml"] = static(plan)
    files["inventory/underway.json"] = dynamic_data(plan)
    files["inventory/underway.py"] = SCRIPT.encode()
    files["ansible.cfg"] = _settings(plan)
    files["README.md"] = readme(plan)
    return dict(sorted(files.items()))


def _settings(plan: Plan) -> bytes:
    forks = max([1, *(size for found in plan.passes.values() for size in sizes(plan, found))])
    return (
        "# Made by Underway.\n"
        "[defaults]\n"
        "inventory = inventory/hosts.yml\n"
        "host_key_checking = True\n"
        "interpreter_python = auto_silent\n"
        f"forks = {min(forks, 50)}\n"
    ).encode()


def _before(directory: Path) -> dict[str, list[str]]:
    """The files of an earlier export in ``directory``; none where it is empty. Raises ``InputError`` if foreign."""
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(f"{directory}: expected a directory, found something else")
    if not directory.exists() or not any(directory.iterdir()):
        return {}
    try:
        marked = json.loads((directory / MARK).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{directory}: not empty, and no earlier export (choose another directory)") from None
    except ValueError:
        marked = None
    if not isinstance(marked, dict) or not all(_ours(name, found) for name, found in marked.items()):
        raise InputError(f"{directory}: {MARK} is damaged (choose another directory)")
    for name, expected in sorted(marked.items()):
        if not _is_unchanged(directory, PurePosixPath(name), expected):
            raise InputError(
                f"{directory / name}: changed since the export (move it away, or choose another directory)"
            )
    return marked


def _is_unchanged(directory: Path, name: PurePosixPath, expected: Collection[str]) -> bool:
    """Whether a file is gone, or a plain file with content of ours, in plain directories."""
    if any((directory / part).is_symlink() for part in (name, *name.parents) if part.parts):
        return False
    path = directory / name
    return not path.exists() or (path.is_file() and digest(path.read_bytes()) in expected)


def _ours(name: object, found: object) -> bool:
    if not isinstance(name, str) or not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _mark(files: Mapping[str, list[str]]) -> bytes:
    return json.dumps(files, indent=1, sort_keys=True).encode() + b"\n"


def _prune(directory: Path, parents: Iterable[PurePosixPath]) -> None:
    for parent in parents:
        if parent.parts and (directory / parent).is_dir() and not any((directory / parent).iterdir()):
            (directory / parent).rmdir()


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole; a link in its place is replaced, not followed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
