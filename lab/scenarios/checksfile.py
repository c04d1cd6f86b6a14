"""The ``checks`` of the laboratory's cluster file: suites, and resources that must outlive an upgrade."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from labkit.places import SOURCE, Places
from labkit.topology import VIP
from scenarios.tempest import FLAVORS

HERE = SOURCE / "cluster/checks"
CANNOT = HERE / "cannot.yaml"


@dataclass(frozen=True)
class Testers:
    """``environment``: of Tempest and testinfra; ``workspace``: Tempest's; ``image``: id of one to boot from."""

    __test__ = False  # pytest looks at names that begin so

    environment: Path
    workspace: Path
    image: str


def cannot(listed: Path = CANNOT) -> dict[str, str]:
    """Tests that fail in the laboratory (``*``: any letters), and why."""
    read = yaml.safe_load(listed.read_text()) or {}
    return {str(id_): str(why) for id_, why in read.items()}


def write(places: Places, home: Path, testers: Testers, survey: str = "") -> None:
    """Put the checks under ``cluster.yaml``, and the Javelin file beside it.

    ``survey``: a regular expression over ids of Tempest, for a suite of its own.
    """
    (home / "image.raw").write_bytes(os.urandom(1024))
    javelin = home / "javelin.yaml"
    javelin.touch(mode=0o600)
    javelin.write_text(_filled("javelin.yaml.j2", password=secrets.token_hex(12), flavor=FLAVORS["11"][0]))
    cluster = home / "cluster.yaml"
    cluster.write_text(cluster.read_text() + render(places, home, testers, survey))


def render(places: Places, home: Path, testers: Testers, survey: str = "") -> str:
    """The text of ``checks``."""
    return _filled(
        "checks.yaml.j2",
        top=places.top,
        lab=SOURCE,
        here=HERE,
        vip=VIP,
        secrets=home / "secrets",
        javelin=home / "javelin.yaml",
        python=sys.executable,
        environment=testers.environment,
        workspace=testers.workspace,
        image=testers.image,
        cannot=sorted(cannot()),
        survey=survey.replace("\\", "\\\\"),
    )


def _filled(name: str, **values: object) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string((HERE / name).read_text()).render(values)
