"""The fragments of changes/ as a section of the changelog (changes/README.md says how they are written)."""

from __future__ import annotations

import re
from pathlib import Path

KINDS = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
NAME = re.compile(r"[a-z0-9][a-z0-9-]*\.(?P<kind>[a-z]+)\.md")


def fragments(directory: Path) -> dict[str, list[str]]:
    """Kind -> texts, in the order of their names. Raises ValueError for a file that is no fragment."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in sorted(directory.iterdir()):
        if path.name == "README.md":
            continue
        match = NAME.fullmatch(path.name)
        if match is None or match["kind"] not in KINDS:
            raise ValueError(f"{path}: expected NAME.KIND.md with a kind of {', '.join(KINDS)}")
        text = path.read_text(encoding="utf-8").strip()
        if not text:
            raise ValueError(f"{path}: is empty; expected a sentence for users")
        found[match["kind"]].append(text)
    return found


def unreleased(directory: Path) -> str:
    """Markdown: one heading per kind that has fragments."""
    lines: list[str] = []
    for kind, texts in fragments(directory).items():
        if texts:
            lines += [f"### {KINDS[kind]}", ""]
            lines += ["- " + text.replace("\n", "\n  ") for text in texts]
            lines.append("")
    return "\n".join(lines) or "Nothing yet."
