"""What a Javelin file describes is made, looked for and removed by openstacksdk; what was there before stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_cloud import FakeCloud

pytestmark = pytest.mark.service

FILE = """\
tenants: [demo]
users: [{name: ann, pass: canary-Xy9, tenant: demo}]
secgroups: [{name: web, owner: ann, rules: [tcp 80 80 0.0.0.0/0]}]
images: [{name: recipe, owner: ann, file: image.raw}]
networks: [{name: inside, owner: ann}]
subnets: [{name: low, owner: ann, network: inside, range: 10.9.0.0/24}]
routers: [{name: way, owner: ann, subnet: [low]}]
servers: [{name: stove, owner: ann, flavor: tiny, image: recipe, networks: [inside]}]
objects: [{container: notes, name: menu, owner: ann, file: image.raw}]
telemetry: [{name: old}]
"""
COLLECTIONS = ("security-groups", "images", "networks", "subnets", "routers", "servers")


class Operator:
    """Runs the program as ``underway check`` does."""

    def __init__(self, cloud: FakeCloud, home: Path) -> None:
        self.cloud, self.home = cloud, home
        (home / "javelin.yaml").write_text(FILE)
        (home / "image.raw").write_bytes(b"content")
        (home / "admin").write_text("right\n")

    def call(self, verb: str) -> tuple[int, list[str]]:
        words = [sys.executable, "-m", "underway.checks.javelin", "--file", "javelin.yaml", "--url"]
        words += [f"{self.cloud.url}/v3", "--user", "admin", "--password-file", "admin", verb, "pre-upgrade"]
        environment = {**os.environ, "UNDERWAY_SAVE": str(self.home)}
        done = subprocess.run(
            words, cwd=self.home, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, done.stdout.splitlines()

    @property
    def notes(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((self.home / "javelin.json").read_text())
        return found


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with FakeCloud() as cloud:
        yield Operator(cloud, tmp_path)


def test_made_looked_for_and_removed(operator: Operator) -> None:
    cloud = operator.cloud
    for verb in ("early_create", "create", "create", "verify"):
        code, said = operator.call(verb)
        assert code == 0, said
    assert "ok servers/stove" in said and "ok telemetry # SKIP no service of today has it" in said
    assert "ok volumes" not in "".join(said)
    assert all(len(cloud.names(end)) == 1 for end in COLLECTIONS) and cloud.objects["notes"] == {"menu": b"content"}
    assert cloud.names("projects") == ["admin", "demo"] and cloud.names("users") == ["admin", "ann"]
    code, said = operator.call("destroy")
    assert code == 0, said
    assert not any(cloud.names(end) for end in COLLECTIONS) and cloud.objects == {}
    assert cloud.names("projects") == ["admin"] == cloud.names("users") and operator.notes == {}
    code, said = operator.call("destroy")
    assert code == 0 and "ok tenants/demo # SKIP not made here" in said, said


def test_what_was_there_before_is_neither_taken_nor_removed(operator: Operator) -> None:
    cloud = operator.cloud
    id_ = cloud.put("/v3/projects", name="demo")
    for verb in ("early_create", "create"):
        code, said = operator.call(verb)
        assert code == 1
        assert said[0].startswith(f"not ok tenants/demo: the tenant of this name (id {id_}) was not made here")
        assert said[1] == "not ok users/ann: its tenant demo was not made here"
    assert "not ok servers/stove: its owner ann was not made here" in said
    for verb in ("verify", "destroy"):
        operator.call(verb)
    assert id_ in cloud.things["/v3/projects"] and not any(method == "DELETE" for method, _ in cloud.asked)
    assert cloud.names("users") == ["admin"] and not any(cloud.names(end) for end in COLLECTIONS)


@pytest.mark.parametrize(
    ("path", "name", "line"),
    [
        ("/v3/users", "ann", "users/ann: the user"),
        ("/network/v2.0/networks", "inside", "networks/inside: the network"),
        ("/image/v2/images", "recipe", "images/recipe: the image"),
        ("/compute/v2.1/servers", "stove", "servers/stove: the server"),
    ],
)
def test_a_name_that_is_taken_is_refused_for_every_kind(operator: Operator, path: str, name: str, line: str) -> None:
    id_ = operator.cloud.put(path, name=name, status="ACTIVE", password="canary-Xy9", default_project_id="p")
    code, said = operator.call("create")
    assert code == 1 and any(one.startswith(f"not ok {line} of this name") for one in said), said
    assert not any(one.startswith("not ok subnets") and name != "inside" and name != "ann" for one in said)
    operator.call("destroy")
    assert list(operator.cloud.things[path])[-1] == id_, "it outlived us"
    assert operator.cloud.names("projects") == ["admin"], "what was made here is gone"


def test_one_put_in_the_place_of_ours_is_not_removed(operator: Operator) -> None:
    operator.call("create")
    networks = operator.cloud.things["/network/v2.0/networks"]
    networks.clear()
    other = operator.cloud.put("/network/v2.0/networks", name="inside")
    code, said = operator.call("verify")
    assert code == 1 and any(one.startswith("not ok networks/inside: the network is another") for one in said), said
    operator.call("destroy")
    assert list(networks) == [other]


def test_what_broke_half_way_is_made_anew_and_nothing_is_left(operator: Operator) -> None:
    cloud = operator.cloud
    cloud.boots_to = "ERROR"
    code, said = operator.call("create")
    assert code == 1 and any(one.startswith("not ok servers/stove:") for one in said), said
    (first,) = cloud.things["/compute/v2.1/servers"]
    cloud.boots_to = "ACTIVE"
    assert operator.call("create")[0] == 0
    (second,) = cloud.things["/compute/v2.1/servers"]
    assert first != second and operator.notes["servers/stove"]["id"] == second


def test_an_account_stays_while_something_must_be_removed_as_it(operator: Operator) -> None:
    cloud = operator.cloud
    operator.call("create")
    cloud.refuse = ("DELETE", "/networks/")
    code, said = operator.call("destroy")
    assert code == 1 and "not ok users/ann: it is needed to remove networks/inside" in said, said
    assert "not ok tenants/demo: it is needed to remove users/ann" in said
    cloud.refuse = None
    assert operator.call("destroy")[0] == 0
    assert cloud.names("projects") == ["admin"] and cloud.names("networks") == []


def test_a_name_twice_in_the_file_is_an_error(operator: Operator) -> None:
    (operator.home / "javelin.yaml").write_text("tenants: [demo, demo]\n")
    words = [sys.executable, "-m", "underway.checks.javelin", "--file", "javelin.yaml", "--url", "x"]
    words += ["--user", "admin", "--password-file", "admin", "create", "pre-upgrade"]
    done = subprocess.run(words, cwd=operator.home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "tenants[1]: name: expected one of its own, found 'demo' again" in done.stderr
