"""JSON Schemas of the files, for editors; made from the models that read them, so the two cannot differ.

``underway/schemas/*.json`` holds them as published. After a change of ``documents``, write them anew with
``python -m underway.config.schema DIRECTORY``; a test says when that was forgotten.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from underway.config.documents import ClusterFile, ReleaseFile, ServiceFile
from underway.config.fragment import Fragment

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_KINDS: dict[str, tuple[type[Fragment], str]] = {
    "cluster.schema.json": (ClusterFile, "Underway: cluster.yaml"),
    "service.schema.json": (ServiceFile, "Underway: services/*.yaml"),
    "release.schema.json": (ReleaseFile, "Underway: releases/*.yaml"),
}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas (2020-12) by file name.

    What spans keys or files is beyond them: a file that they accept may still be refused by ``load``.
    """
    return {name: _schema(kind, title) for name, (kind, title) in _KINDS.items()}


def _schema(kind: type[Fragment], title: str) -> dict[str, Any]:
    made = kind.model_json_schema(mode="validation", schema_generator=_Plain)
    made["title"] = title
    made["description"] = (kind.__doc__ or "").strip()
    return {"$schema": DIALECT, **made}


class _Plain(GenerateJsonSchema):
    """Plainer than pydantic's: titles that are the key's own name are noise in an editor."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """A name that does not fit is refused, not only left unchecked."""
        made = super().dict_schema(schema)
        for pattern, value in made.pop("patternProperties", {}).items():
            made |= {"additionalProperties": value, "propertyNames": {"pattern": pattern}}
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (pydantic's signature)
        return False


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it is published."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write(directory: Path) -> None:
    """Write all schemas into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (directory / name).write_text(text_of(schema), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
