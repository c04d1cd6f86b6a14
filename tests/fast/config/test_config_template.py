"""The example of ``underway init`` and the published schemas."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import underway
from fast.config.workspace import AGENT, API, CLUSTER, DB, RELEASE, Workspace
from underway.config.load import load
from underway.config.located import parse
from underway.config.schema import schemas, text_of
from underway.config.template import example_files

KINDS = {"cluster.yaml": "cluster", "services": "service", "releases": "release"}


def _kind(name: str) -> str:
    return KINDS[name.split("/")[0]]


def _write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


def test_the_example_validates(tmp_path: Path) -> None:
    """Without a warning, and each kind of file says where its schema is."""
    _write(tmp_path, example_files())
    inputs = load(tmp_path / "cluster.yaml")
    assert inputs.problems == ()
    assert set(inputs.catalogue.releases) == {"1.0", "2.0"}
    assert "page@web1" in inputs.cluster.probes
    for name, text in example_files().items():
        if name.endswith(".yaml"):
            first = text.splitlines()[0]
            assert first.startswith("# yaml-language-server: $schema=")
            named = (tmp_path / name).parent / first.partition("=")[2]
            assert named.is_file()
            assert named.name == f"{_kind(name)}.schema.json"


def test_commented_keys_of_the_example_validate(tmp_path: Path) -> None:
    """What stands in comments works when the comment sign is taken away."""
    files = example_files()
    lines = files["cluster.yaml"].splitlines()
    keys = ("# groups:", "#   front:", "  # windows:", "  # approvals:", "  # outage_budget:")
    opened = [line.replace("# ", "", 1) if line.startswith(keys) else line for line in lines]
    assert sum(a != b for a, b in zip(lines, opened, strict=True)) == len(keys)
    files["cluster.yaml"] = "\n".join(opened) + "\n"
    _write(tmp_path, files)
    inputs = load(tmp_path)
    assert inputs.problems == ()
    assert inputs.cluster.policy.approvals == ("finalize",)
    assert inputs.cluster.groups["front"].roles == ("balancer", "web")


def test_the_published_schemas_are_the_generated_ones() -> None:
    """Else: python -m underway.config.schema src/underway/schemas"""
    directory = Path(underway.__file__).parent / "schemas"
    published = {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}
    assert published == {name: text_of(schema) for name, schema in schemas().items()}


@pytest.mark.parametrize("name", sorted(schemas()))
def test_schemas_are_schemas(name: str) -> None:
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for key, part in schema["properties"].items():
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        assert part.get("description"), f"{name}: an editor has nothing to say about '{key}'"
    for title, part in schema.get("$defs", {}).items():
        for key, inner in part.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner, (
                f"{name}: an editor has nothing to say about '{key}' of {title}"
            )


def _problems(kind: str, text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schemas()[f"{kind}.schema.json"])
    return [error.message for error in validator.iter_errors(parse(text.encode(), kind).value)]


@pytest.mark.parametrize("name", [name for name in example_files() if name.endswith(".yaml")])
def test_examples_fit_the_schemas(name: str) -> None:
    assert _problems(_kind(name), example_files()[name]) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [("cluster", CLUSTER), ("service", API), ("service", DB), ("service", AGENT), ("release", RELEASE)],
)
def test_test_files_fit_the_schemas(kind: str, text: str) -> None:
    assert _problems(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text", "old", "new"),
    [
        ("cluster", CLUSTER, "limit: 25%", "limit: -1"),
        ("cluster", CLUSTER, "limit: 25%", "limit: 110%"),
        ("cluster", CLUSTER, "limit: 25%", "limt: 1"),
        ("cluster", CLUSTER, "cluster: prod", "cluster: Prod"),
        ("cluster", CLUSTER, "  cmp1:", "  cmp_1:"),
        ("cluster", CLUSTER, 'release: "1.0"', "release: 1.0"),
        ("cluster", CLUSTER, "every: 1s", "every: soon"),
        ("cluster", CLUSTER, "role: compute, address: 10.0.0.21", "address: 10.0.0.21"),
        ("cluster", CLUSTER, "region: eu1", "a-b: eu1"),
        ("service", API, "  upgrade:", "  upgrad:"),
        ("service", API, "step: Install", "stop: Install"),
        ("service", API, "notify: Restart api", "delegate_to: lb1"),
        ("service", API, "needs: [db]", "needs: db"),
        ("release", RELEASE, '"1.0"', "1.0"),
    ],
)
def test_schemas_refuse(kind: str, text: str, old: str, new: str) -> None:
    """What an editor can see without the other files, it sees."""
    assert text.count(old) == 1
    assert _problems(kind, text.replace(old, new)) != []


def test_both_forms_of_a_phase_fit(files: Workspace) -> None:
    long = API.replace("  upgrade:\n    - step", "  upgrade:\n    once: true\n    steps:\n    - step")
    assert long != API
    assert _problems("service", long) == []
    assert _problems("service", long.replace("once: true", "onec: true")) != []


def test_schemas_are_small() -> None:
    """An editor reads them at every start."""
    assert all(len(json.dumps(schema)) < 40_000 for schema in schemas().values())
