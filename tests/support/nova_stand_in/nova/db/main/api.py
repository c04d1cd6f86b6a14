"""Changes of records, in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path


def service_update(context: str, service_id: int, values: dict[str, int]) -> None:
    """Write values into the record of a service."""
    path = Path(os.environ["NOVA_RECORDS"])
    path.write_text(
        json.dumps([{**one, **values} if one["id"] == service_id else one for one in json.loads(path.read_text())])
    )
