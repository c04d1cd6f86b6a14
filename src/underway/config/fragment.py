"""What all files as written have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Fragment(BaseModel):
    """Base: types are not converted, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    PLACEHOLDERS: ClassVar[dict[str, Any]] = {}
    """Stand-ins for required keys that are missing, so that the rest of a file can be looked at all the same."""
