"""eDeploy's metadata: whether each image has a path from its release to the next (A21, A26). Only looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from underway.config.words import listing, shown, shown_path
from underway.core.names import ordered
from underway.errors import Problem
from underway.importers.spinalstack.build import Releases
from underway.importers.spinalstack.scenario import Scenario, Sources
from underway.importers.spinalstack.variables import Definitions


def check_paths(
    directory: Path, scenario: Scenario, sources: Sources, names: Definitions, jump: Releases
) -> Iterator[Problem]:
    """``DIR/<from>/<role>/<to>`` for the image of every profile, for each distribution's ``distro``.

    As eDeploy itself: no ``exclude``, or an ``add_only`` that is missing or empty, refuses; links are followed.
    """
    distros = {
        str(found.value)
        for values in names.distributions.values() or [names.everywhere]
        if (found := values.get("distro") or names.everywhere.get("distro"))
    }
    for profile in scenario.profiles:
        if not profile.image:
            continue
        for distro in sorted(distros):
            source, target = f"{distro}-{jump.source}", f"{distro}-{jump.target}"
            place = directory / source / profile.image / target
            problem = _missing(place, directory / source / profile.image)
            if problem:
                message = f"the image {shown(profile.image)} cannot go from {source} to {target}: {problem[0]}"
                yield sources.problem(("profiles", profile.name), "edeploy-path", message, problem[1], of="key")


def _missing(place: Path, siblings: Path) -> tuple[str, str] | None:
    if not place.is_dir():
        targets = ordered(path.name for path in siblings.iterdir() if path.is_dir()) if siblings.is_dir() else []
        known = f"targets that are there: {listing(targets)}" if targets else "no target is there"
        return f"{shown_path(place)} does not exist", known
    if not (place / "exclude").is_file():
        return f"{shown_path(place / 'exclude')} does not exist", "without it everything on the host would be replaced"
    only = place / "add_only"
    if not only.is_file() or not only.stat().st_size:
        return f"{shown_path(only)} is missing or empty", "eDeploy refuses that; a line '- *' adds nothing"
    for name in ("pre", "post"):
        hook = place / name
        if hook.is_file() and not hook.stat().st_mode & 0o111:
            return f"{shown_path(hook)} is not executable, and would be passed over in silence", f"chmod +x {hook}"
    return None
