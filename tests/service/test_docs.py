"""Every example of the documentation is done as written; pages build without a warning and load nothing foreign."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from support.doc_page import TOP, Command, File, Reader, items

pytestmark = pytest.mark.service

DOCS = TOP / "docs"
ELSEWHERE = {
    "how-to/export.md": "tests/service/test_export.py",
    "reference/files.md": "tests/fast/config/test_config_docs.py",
}
"""Pages whose examples have a test of their own."""

PAGES = sorted(
    str(path.relative_to(DOCS))
    for path in DOCS.rglob("*.md")
    if "_build" not in path.parts and str(path.relative_to(DOCS)) not in ELSEWHERE
)
TRIED = [page for page in PAGES if any(isinstance(item, Command | File) for item in items(DOCS / page))]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    found = Reader(tmp_path)
    yield found
    found.leave()


@pytest.mark.parametrize("page", TRIED)
def test_the_examples_of_a_page(page: str, reader: Reader) -> None:
    assert reader.follow(DOCS / page) > 0


def test_the_readme_has_no_example_of_its_own() -> None:
    """Its two commands are what continuous integration runs; others would need a test here."""
    said = [item.text for item in items(TOP / "README.md") if isinstance(item, Command)]
    assert all(text.startswith(("scripts/demo", "scripts/test", "git clone", "cd underway")) for text in said)
    assert {"scripts/demo", "scripts/test"} <= {text.split("  ")[0].strip() for text in said}


def test_the_pages_that_are_tried_elsewhere_are() -> None:
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (TOP / test).read_text(encoding="utf-8")


def test_a_wrong_example_is_noticed(tmp_path: Path, reader: Reader) -> None:
    """The harness itself can fail: on output, on an exit code, on a file that does not load."""
    page = DOCS / "wrong.md"
    for text, message in [
        ("```console\n$ echo one\ntwo\n```\n", "two"),
        ("```console\n$ false\n$ true\n```\n", "exit 1"),
        ("```console\n$ printf 'a\\nb\\n'\na\n```\n", "printed"),
    ]:
        page = TOP / "tests" / f"{tmp_path.name}.md"
        try:
            page.write_text(text, encoding="utf-8")
            reader.code = 0
            with pytest.raises(AssertionError, match=message):
                reader.follow(page)
        finally:
            page.unlink()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("html")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-E",
            "-b",
            "html",
            DOCS,
            out,
            "-d",
            out / ".trees",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Loads(HTMLParser):
    """What a browser fetches for a page by itself (links that somebody clicks are not)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "author", "next", "prev"):
            self.found.append(values.get("href") or "")


def test_pages_load_nothing_from_outside(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        outside = [url for url in loads.found if re.match(r"(?:[a-z]+:)?//", url)]
        assert not outside, f"{page.name}: {outside}"
    for style in built.rglob("*.css"):
        outside = re.findall(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")]+)""", style.read_text(encoding="utf-8"))
        assert not outside, f"{style.name}: {outside}"


def test_the_schemas_are_published(built: Path) -> None:
    assert {path.name for path in built.glob("*.schema.json")} == {
        "cluster.schema.json",
        "service.schema.json",
        "release.schema.json",
    }


def test_every_command_is_in_the_reference(built: Path) -> None:
    from underway.cli.main import COMMANDS

    page = (built / "reference/commands.html").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f'id="underway-{command}"' in page, command
