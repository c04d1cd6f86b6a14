"""The command line of a cluster in a directory, as an operator has it: begun, or said to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PATIENCE = 300.0
"""Seconds that a command may take."""


class CommandLine:
    """Commands that are typed in ``top``."""

    top: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command that is begun."""
        command = [str(Path(sys.executable).parent / "underway"), *words]
        env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.Popen(
            command, cwd=self.top, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def say(self, *words: str, code: int = 0) -> str:
        """What a command prints; it must exit with ``code``."""
        with self.start(*words) as process:
            out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out
        return out
