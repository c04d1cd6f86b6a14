"""Units and packages by distribution: whose value counts, and what is refused where."""

from __future__ import annotations

import pytest

from fast.config.workspace import Workspace

DATA = """\
distributions: {debian: "", ubuntu: debian, rhel: ""}
services:
  api:
    debian: {unit: api, packages: [api, api-common]}
    ubuntu: {unit: apache2}
    rhel: {unit: openstack-api}
"""


@pytest.fixture
def named(files: Workspace) -> Workspace:
    files.write("services/distributions.yaml", DATA)
    files.api("gate:\n", "vars: {api_unit: api-server, api_packages: []}\ngate:\n")
    return files


def api(files: Workspace) -> dict[str, object]:
    return files.load().catalogue.services["api"].vars


def chosen(files: Workspace, distribution: str, catalogue: str = "services") -> Workspace:
    files.cluster('release: "1.0"\n', f'release: "1.0"\ndistribution: {distribution}\ncatalogue: [{catalogue}]\n')
    return files


def test_without_a_distribution_nothing_is_different(named: Workspace) -> None:
    assert api(named) == {"api_unit": "api-server", "api_packages": []}


@pytest.mark.parametrize(
    ("distribution", "unit", "packages"),
    [
        ("debian", "api", ["api", "api-common"]),
        ("ubuntu", "apache2", ["api", "api-common"]),
        ("rhel", "openstack-api", []),
    ],
)
def test_its_values_take_the_place_of_defaults(
    named: Workspace, distribution: str, unit: str, packages: list[str]
) -> None:
    assert api(chosen(named, distribution)) == {"api_unit": unit, "api_packages": packages}


def test_what_a_later_directory_says_of_the_service_counts(named: Workspace) -> None:
    named.write("own/api.yaml", "service: api\nextends: api\nvars: {api_unit: api-of-ours}\n")
    assert api(chosen(named, "ubuntu", "services, own")) == {
        "api_unit": "api-of-ours",
        "api_packages": ["api", "api-common"],
    }


def test_a_later_directory_may_have_names_of_its_own(named: Workspace) -> None:
    named.write("own/names.yaml", "distributions: {suse: ''}\nservices: {api: {suse: {unit: api-suse}}}\n")
    assert api(chosen(named, "suse", "services, own"))["api_unit"] == "api-suse"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "  api:\n",
            "  apu:\n",
            "services/distributions.yaml:3:3: services.apu: unknown service 'apu' (did you mean 'api'?)",
        ),
        (
            "    rhel:",
            "    rhl:",
            "services/distributions.yaml:6:5: services.api.rhl: unknown distribution 'rhl' (did you mean 'rhel'?)",
        ),
        (
            "ubuntu: debian,",
            "ubuntu: debain,",
            "services/distributions.yaml:1:37: distributions.ubuntu: unknown distribution 'debain' "
            "(did you mean 'debian'?)",
        ),
        (
            'debian: "",',
            "debian: ubuntu,",
            "services/distributions.yaml:1:25: distributions.debian: 'debian' is like itself in the end "
            "(leave it empty)",
        ),
        (
            "{unit: apache2}",
            "[apache2]",
            "services/distributions.yaml:5:13: services.api.ubuntu: expected keys and values, found a list",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(named: Workspace, old: str, new: str, said: str) -> None:
    named.edit("services/distributions.yaml", old, new)
    assert said in named.errors()


def test_a_distribution_that_nobody_names_is_refused(named: Workspace) -> None:
    assert chosen(named, "ubunto").errors() == [
        "cluster.yaml:3:15: distribution: unknown distribution 'ubunto' (did you mean 'ubuntu'?)"
    ]
