"""Repositories of a release: what tasks know of them, and what is wrong with them."""

from __future__ import annotations

import pytest

from fast.config.workspace import Workspace
from underway.core.model.base import canonical, decode
from underway.core.model.plan import Plan
from underway.core.planner import build_plan
from underway.core.versions import REPOSITORIES, wanted

GOOD = """\
repositories:
  own: {url: "file:/srv/{snapshot}/apt", snapshot: "2026.2", unsigned: true}
  debian:
    url: https://mirror.example.org/{snapshot}
    snapshot: 20260401T000000Z
    suite: trixie
    components: [main]
    key: /usr/share/keyrings/debian.gpg
"""


def test_tasks_know_them_by_name_with_the_snapshot_in_the_url(files: Workspace) -> None:
    files.edit("releases/2.0.yaml", "services:", GOOD + "services:")
    inputs = files.load()
    plan = build_plan(inputs.cluster, inputs.catalogue, "2.0", digests=inputs.digests)
    assert plan.release_vars[REPOSITORIES] == [
        {
            "name": "debian", "url": "https://mirror.example.org/20260401T000000Z", "snapshot": "20260401T000000Z",
            "suite": "trixie", "components": ["main"], "key": "/usr/share/keyrings/debian.gpg", "unsigned": False,
        },
        {
            "name": "own", "url": "file:/srv/2026.2/apt", "snapshot": "2026.2", "suite": "./", "components": [],
            "key": "", "unsigned": True,
        },
    ]  # fmt: skip
    assert wanted(decode(canonical(plan), Plan).release_vars) == {"debian": "20260401T000000Z", "own": "2026.2"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{url: 'https://m/', snapshot: 1a}",
            "the url does not hold {snapshot}: every snapshot would be the same packages",
        ),
        ("{url: 'https://m/{snapshot}'}", "the url holds {snapshot}, and there is no 'snapshot'"),
        ("{url: 'https://m/{release}'}", "is not the URL of a repository"),
        ("{url: 'ftp://m/'}", "ftp"),
        ("{url: 'https://m/', suite: trixie}", "suite 'trixie' needs components"),
        ("{url: 'https://m/', components: [main]}", "a suite that ends with '/' has no components"),
        ("{url: 'https://m/', snapshot: latest}", "'latest' is not a version"),
        ("{url: 'https://m/', key: ../a}", "key"),
        ('{url: "https://m/\\nTrusted: yes"}', "it holds blanks, control characters"),
        ('{url: "https://m/", suite: "x\\nTrusted: yes", components: [main]}', "control character"),
        ("{url: 'https://u:p@m/'}", "url"),
        ("{urk: 'https://m/'}", "urk"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files: Workspace, written: str, said: str) -> None:
    files.edit("releases/2.0.yaml", "services:", f"repositories: {{m: {written}}}\nservices:")
    found = [text for text in files.errors() if said in text]
    assert found and found[0].startswith("releases/2.0.yaml:3:"), files.errors()


def test_a_variable_of_its_name_is_refused_beside_it(files: Workspace) -> None:
    files.edit("releases/2.0.yaml", "services:", GOOD + "vars: {release_repositories: []}\nservices:")
    assert [text for text in files.errors() if "'release_repositories' is what 'repositories' makes" in text]
