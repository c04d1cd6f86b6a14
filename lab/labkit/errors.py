"""What the laboratory's command says when it cannot go on: one line for people, and an exit code."""

from __future__ import annotations


class LabError(Exception):
    """Something failed; the line names what, and what to do where that is known. Exit code 1."""

    exit_code = 1


class Refused(LabError):
    """Nothing was changed, and why. Exit code 3."""

    exit_code = 3
