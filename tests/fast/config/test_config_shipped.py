"""Catalogues that come with the program, named beside directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from underway.config import shipped
from underway.config.load import load
from underway.errors import FileProblems

CLUSTER = """\
cluster: prod
release: "2025.1"
catalogue: [{catalogue}]
roles:
  cache: {{services: [memcached]}}
hosts:
  m1: {{role: cache}}
"""


def written(directory: Path, catalogue: str) -> Path:
    (directory / "releases").mkdir()
    (directory / "releases/2026.1.yaml").write_text('release: "2026.1"\nsupports: ["2025.1"]\n')
    (directory / "cluster.yaml").write_text(CLUSTER.format(catalogue=catalogue))
    return directory


def test_a_name_means_a_catalogue_that_is_shipped(tmp_path: Path) -> None:
    inputs = load(written(tmp_path, "openstack"))
    assert inputs.problems == ()
    assert "memcached" in inputs.catalogue.services
    assert shipped.names() == ["openstack", "packages"]


def test_own_services_stand_beside_it(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/ledger.yaml").write_text("service: ledger\nneeds: [keystone]\n")
    assert {"ledger", "keystone"} <= set(load(written(tmp_path, "openstack, services")).catalogue.services)


def test_none_overrides_the_other(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/own.yaml").write_text("service: memcached\n")
    with pytest.raises(FileProblems) as caught:
        load(written(tmp_path, "openstack, services"))
    assert "service 'memcached' is also defined in" in str(caught.value.problems[0])
    assert "none overrides the other (remove or rename one, or let this one say 'extends: memcached')" in str(
        caught.value.problems[0]
    )


@pytest.mark.parametrize(
    ("catalogue", "message"),
    [
        ("openstak", "'openstak' is neither a directory nor a shipped catalogue (did you mean 'openstack'?)"),
        ("servces, openstack", "'servces' is neither a directory nor a shipped catalogue (did you mean 'services'?)"),
        (
            "x, openstack",
            "'x' is neither a directory nor a shipped catalogue (catalogues: openstack, packages, releases, services)",
        ),
        ("./openstack", "directory './openstack' does not exist (make it, or name another)"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, catalogue: str, message: str) -> None:
    (tmp_path / "services").mkdir()
    with pytest.raises(FileProblems) as caught:
        load(written(tmp_path, catalogue))
    assert message in "\n".join(map(str, caught.value.problems))


def test_a_directory_comes_before_a_catalogue_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "openstack").mkdir()
    (tmp_path / "openstack/memcached.yaml").write_text("service: memcached\nvars: {mine: 1}\n")
    inputs = load(written(tmp_path, "openstack"))
    assert inputs.catalogue.services["memcached"].vars == {"mine": 1}
    [warned] = [str(problem) for problem in inputs.problems if problem.field == "catalogue[0]"]
    assert warned.endswith(
        "warning: catalogue[0]: 'openstack' is a directory here and a shipped catalogue, too: the directory is read "
        "(write './openstack' to say so, or rename it to use the catalogue)"
    )


def test_restarts_is_for_finalize(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    step = "{step: Look, idempotent: true, tasks: [{name: Look, ansible.builtin.command: 'true'}]}"
    (tmp_path / "services/ledger.yaml").write_text(
        f"service: ledger\nphases:\n  upgrade: {{restarts: true, steps: [{step}]}}\n"
    )
    with pytest.raises(
        FileProblems, match=r"phases\.upgrade.restarts: 'restarts' is for a finalize phase on each host"
    ):
        load(written(tmp_path, "openstack, services"))


def test_who_runs_less_than_all_of_it_hears_nothing_of_the_rest(tmp_path: Path) -> None:
    """A need of a shipped service is an order where both are run; a need of one's own is named if nothing runs it."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services/ledger.yaml").write_text("service: ledger\nneeds: [mariadb]\n")
    directory = written(tmp_path, "openstack, services")
    (directory / "cluster.yaml").write_text(
        CLUSTER.format(catalogue="openstack, services").replace(
            "[memcached]", "[environment, keystone, haproxy, ledger]"
        )
    )
    [warned] = [str(problem) for problem in load(directory).problems]
    assert warned.endswith(
        "services/ledger.yaml:2:9: warning: needs[0]: service 'mariadb' runs on no host: there is nothing to wait for"
    )
