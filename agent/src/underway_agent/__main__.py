"""``python -m underway_agent``."""

from __future__ import annotations

from underway_agent.main import run

run()
