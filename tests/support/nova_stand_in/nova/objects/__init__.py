"""Records of services, from a file."""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace


def register_all() -> None:
    """Nothing is to be registered."""


class ServiceList:
    """The records of a cell."""

    @staticmethod
    def get_all(context: str) -> list[SimpleNamespace]:
        """Those of the file, in one cell. A record's ``silent`` is in seconds, or null where it never reports."""
        if not context.endswith("cell1"):
            return []
        now = datetime.datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), datetime.UTC)
        now = now.replace(tzinfo=None)  # Nova's times are of UTC, and do not say so
        return [
            SimpleNamespace(
                **one,
                last_seen_up=None if one["silent"] is None else now - datetime.timedelta(seconds=one["silent"]),
            )
            for one in json.loads(Path(os.environ["NOVA_RECORDS"]).read_text())
        ]


class Service:
    """One of the records."""

    @staticmethod
    def get_by_host_and_binary(context: str, host: str, binary: str) -> SimpleNamespace | None:
        """That of a host's service, if there is one."""
        for one in json.loads(Path(os.environ["NOVA_RECORDS"]).read_text()):
            if (one["host"], one["binary"]) == (host, binary):
                return SimpleNamespace(**one)
        return None
