"""Our own files as an importer writes them: YAML that reads the same by 1.1 and 1.2, with comments of origin.

A directory is written whole or not at all: beside its place first, renamed when everything stands in it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from underway.config.located import VAULT_KEY
from underway.config.scalars import plain
from underway.errors import InputError

WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Block style, lists indented under their key, no anchors, quotes wherever a reader could see more in a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if "\n" in text and text.strip() and all(line == line.rstrip() for line in text.split("\n")):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    odd = plain(text) if text else None
    style = None if odd == text and isinstance(odd, str) and ":" not in text[:8] else '"'
    if style == '"' and ('"' in text or "\\" in text) and text.isprintable():
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _mapping(dumper: _Dumper, value: Mapping[str, Any]) -> yaml.Node:
    if set(value) == {VAULT_KEY}:
        return dumper.represent_scalar("!vault", str(value[VAULT_KEY]), style="|")
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items())


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)


def text(value: Any) -> str:
    """``value`` as YAML, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True, default_flow_style=False)


def comment(words: str) -> str:
    """Lines of comment; what could end a comment or hide in it is left out."""
    return "".join(
        f"# {''.join(c if c.isprintable() else '?' for c in line)}".rstrip() + "\n" for line in words.splitlines()
    )


def indented(block: str, by: int = 2) -> str:
    """A block of lines, further to the right."""
    return "".join(" " * by + line if line.strip() else line for line in block.splitlines(keepends=True))


def commented(value: Mapping[str, Any], notes: Mapping[tuple[str, ...], str]) -> str:
    """``value`` as YAML; ``notes`` are comments before keys, by their path. Neighbours with one comment share it."""
    return _commented(value, notes, {note[:length] for note in notes for length in range(1, len(note))}, ())


def _commented(
    value: Mapping[str, Any], notes: Mapping[tuple[str, ...], str], above: set[tuple[str, ...]], path: tuple[str, ...]
) -> str:
    """``above``: paths below which there are notes."""
    out: list[str] = []
    last = ""
    for key, inside in value.items():
        here = (*path, key)
        note = notes.get(here, "")
        if note and note != last:
            out.append(comment(note))
        last = note
        if isinstance(inside, dict) and here in above:
            out.append(text({key: None}).replace(" null", "", 1) + indented(_commented(inside, notes, above, here)))
        else:
            out.append(text({key: inside}))
    return "".join(out)


@dataclass(slots=True)
class Native:
    """A cluster in our own format. ``notes`` hold comments by path of keys; "" is the head of a file.

    ``services`` and ``releases`` by name; each file is ``services/NAME.yaml`` or ``releases/NAME.yaml``.
    """

    cluster: dict[str, Any]
    notes: dict[tuple[str, ...], str] = field(default_factory=dict)
    head: str = ""
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    service_heads: dict[str, str] = field(default_factory=dict)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    release_heads: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """Path below the directory -> text."""
        made = {"cluster.yaml": comment(self.head) + "\n" + commented(self.cluster, self.notes)}
        for name, service in self.services.items():
            made[f"services/{name}.yaml"] = comment(self.service_heads.get(name, "")) + text(service)
        for name, release in self.releases.items():
            made[f"releases/{name}.yaml"] = comment(self.release_heads.get(name, "")) + text(release)
        return made


def write_directory(target: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` (path below ``target`` -> text). ``target`` is new or an empty directory; else ``InputError``."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is there already and not empty: name a directory that is new (nothing was written)")
    parent = target.resolve().parent
    if not parent.is_dir():
        raise InputError(f"{parent} is no directory: make it first, or name another place for {target.name}")
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
    try:
        for name, content in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        made.chmod(0o755)
        made.replace(target.resolve())  # an empty directory in its place is replaced, a full one is not
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise
