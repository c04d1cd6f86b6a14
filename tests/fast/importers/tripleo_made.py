"""TripleO trees for the tests: the fixtures, read in place, and small ones that a test writes."""

from __future__ import annotations

import os
from pathlib import Path

from underway.importers.tripleo.collect import Collection, collect
from underway.importers.tripleo.inputs import (
    Environment,
    Tree,
    find_registry,
    names_for_rendering,
    read_environment,
    read_roles,
)

BESIDE = Path(__file__).parents[4] / "shared" / "fixtures"
FIXTURES = Path(os.environ.get("UNDERWAY_FIXTURES", BESIDE))
GOLDEN = FIXTURES / "golden" / "tripleo_ocata_6.2.0_plan.json"
OCATA = FIXTURES / "tripleo" / "ocata-6.2"
MASTER = FIXTURES / "tripleo" / "master"


def collected(root: Path, *environments: Path, skip: tuple[str, ...] = ()) -> Collection:
    """What the importer understands of a tree."""
    roles, node = read_roles(root / "roles_data.yaml")
    tree = Tree(root)
    tree.names = names_for_rendering(tree, node)
    environment = Environment()
    for path in (find_registry(tree), *environments):
        if path is not None:
            read_environment(path, tree, environment)
    return collect(tree, roles, environment, skip)
