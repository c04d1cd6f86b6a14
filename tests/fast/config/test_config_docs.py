"""docs/reference/files.md: its examples are loaded, its messages are the program's, and no key is missing in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from underway.config import checkfiles, distributions, documents, manifests, probefiles, storefile
from underway.config.fragment import Fragment
from underway.config.load import Inputs, load
from underway.errors import FileProblems

PAGE = (Path(__file__).parents[3] / "docs/reference/files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n# (\S+)(?: \((whole|wrong)\))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WHOLE = {name: text for name, kind, text in BLOCKS if kind == "whole"}
PIECES = [(name, text) for name, kind, text in BLOCKS if kind == "" and name in WHOLE]
BESIDE = {name: text for name, kind, text in BLOCKS if kind == "" and name not in WHOLE}
"""Files that stand beside those of the page's cluster, and extend them or each other."""


def _sections(text: str) -> dict[str, str]:
    """The top-level keys of a document, each with its text."""
    return {part.partition(":")[0]: part for part in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if part}


def _load(directory: Path, name: str = "", piece: str = "") -> Inputs:
    """The page's cluster, with the sections of ``piece`` in place of those of the file."""
    for path, text in WHOLE.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        sections = _sections(text)
        if path == name:
            # the piece comes first, so that its lines count from its own beginning
            rest = {key: part for key, part in sections.items() if key not in _sections(piece)}
            text = piece + "".join(rest.values())
        (directory / path).write_text(text, encoding="utf-8")
    for secret in ("secrets/probe", "secrets/admin", "secrets/rabbit", "secrets/mysql", "ca.pem"):
        (directory / secret).parent.mkdir(exist_ok=True)
        (directory / secret).write_text("x")
    return load(directory / "cluster.yaml")


def test_every_block_is_looked_at() -> None:
    assert len(BLOCKS) == PAGE.count("```yaml")
    assert len(PIECES) >= 6


def test_the_whole_files(tmp_path: Path) -> None:
    inputs = _load(tmp_path)
    assert inputs.problems == ()
    assert set(inputs.catalogue.services) == {"haproxy", "keystone", "nova-compute"}
    assert "api@ctrl2" in inputs.cluster.probes


@pytest.mark.parametrize(("name", "piece"), PIECES, ids=[_[1].split(":")[0] for _ in PIECES])
def test_the_pieces(tmp_path: Path, name: str, piece: str) -> None:
    assert _load(tmp_path, name, piece).problems == ()


def test_what_extends_and_what_is_extended(tmp_path: Path) -> None:
    for name, text in BESIDE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    piece = "distribution: ubuntu\ncatalogue: [services, ours]\n"
    inputs = _load(tmp_path, "cluster.yaml", piece)
    assert inputs.problems == ()
    keystone, image = inputs.catalogue.services["keystone"], inputs.catalogue.services["image-api"]
    assert [step.name for step in keystone.phases["upgrade"].steps] == ["Turn the link", "Tell the operators"]
    assert keystone.phases["upgrade"].steps[0].timeout == 600
    assert (keystone.vars["keystone_unit"], keystone.vars["keystone_packages"]) == ("apache2", ["keystone"])
    assert (image.vars, image.logs) == (
        {"image_api_unit": "image-api", "image_api_port": 9292},
        ("journal:{image_api_unit}",),
    )
    assert list(image.actions) == ["restart-image-api"]


def test_the_mistakes(tmp_path: Path) -> None:
    [(name, piece)] = [(name, text) for name, kind, text in BLOCKS if kind == "wrong"]
    [said] = re.findall(r"^```text\n(cluster.yaml:.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    with pytest.raises(FileProblems) as caught:
        _load(tmp_path, name, piece)
    assert str(caught.value).replace(f"{tmp_path}/", "") == said


PLACES: dict[type[Fragment], str] = {
    documents.ClusterFile: "## cluster.yaml",
    documents.RoleFile: "### roles",
    documents.GroupFile: "### groups",
    documents.HostFile: "### hosts",
    documents.PolicyFile: "### policy",
    probefiles.ProbeFile: "### probes",
    probefiles.KeystoneFile: "### probes",
    probefiles.ServerFile: "### probes",
    probefiles.AmqpFile: "### probes",
    probefiles.MysqlFile: "### probes",
    probefiles.CleanupFile: "### probes",
    checkfiles.SuiteFile: "### checks",
    checkfiles.TempestFile: "### checks",
    checkfiles.TestinfraFile: "### checks",
    checkfiles.ResourceFile: "### checks",
    checkfiles.JavelinFile: "### checks",
    storefile.StoreFile: "### store",
    documents.ServiceFile: "## services/*.yaml",
    distributions.DistributionsFile: "### distributions.yaml",
    documents.PhaseFile: "### Phases and steps",
    documents.StepFile: "### Phases and steps",
    documents.ActionFile: "### Phases and steps",
    documents.ReleaseFile: "## releases/*.yaml",
    documents.RepositoryFile: "## releases/*.yaml",
    manifests.ManifestFile: "## releases/*.yaml",
    documents.CheckFile: "## releases/*.yaml",
}


@pytest.mark.parametrize("kind", PLACES, ids=lambda kind: kind.__name__)
def test_every_key_has_its_row(kind: type[Fragment]) -> None:
    section = re.split(r"^#{2,3} ", PAGE.partition(PLACES[kind] + "\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = {
        key for row in re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    }
    assert set(kind.model_fields) <= rows


def test_no_model_is_forgotten() -> None:
    """AuthFile is described with KeystoneFile, ServiceProbeFile with ProbeFile."""
    named = [*vars(documents).values(), *vars(probefiles).values(), *vars(checkfiles).values()]
    kinds = {one for one in named if isinstance(one, type) and issubclass(one, Fragment)}
    assert kinds - set(PLACES) == {Fragment, probefiles.AuthFile, probefiles.ServiceProbeFile}


@pytest.mark.parametrize(
    ("kind", "key", "default"),
    [
        (kind, key, field.default)
        for kind in PLACES
        for key, field in kind.model_fields.items()
        if not field.is_required()
    ],
)
def test_defaults_are_the_true_ones(kind: type[Fragment], key: str, default: object) -> None:
    """Words and truth values that are defaults stand in the row of their key."""
    section = re.split(r"^#{2,3} ", PAGE.partition(PLACES[kind] + "\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [row for row in section.splitlines() if re.match(rf"\| [^|]*`{key}`", row)]
    stated = [row.rstrip(" |").rpartition("|")[2].strip() for row in rows]
    assert stated
    if isinstance(default, bool):
        assert f"`{str(default).lower()}`" in stated
    elif isinstance(default, str) and default:
        assert f"`{default}`" in stated
    elif isinstance(default, int):
        assert str(default) in stated
