"""What all commands share: the place, an opened session, and output."""

from __future__ import annotations

import json
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from underway.app.place import Place, Session
    from underway.errors import Problem

T = TypeVar("T")


class Context:
    """Lazily opened, so that ``--help`` and completion touch nothing."""

    def __init__(self, cluster: str, state: str, operator: str, run: str = "") -> None:
        self._given = (cluster, state, operator)
        self._run = run

    @cached_property
    def place(self) -> Place:
        """Where files and state lie."""
        from underway.app.place import Place

        return Place.find(*self._given)

    @cached_property
    def session(self) -> Session:
        """The opened place; closed when the command ends."""
        from underway.app.place import Session

        session = Session(self.place, run=self._run)
        click.get_current_context().call_on_close(session.close)
        return session

    def look(self, ask: Callable[[Session], T]) -> T:
        """The answer of one look at the opened place, which is closed again; for use outside of commands."""
        from underway.app.place import Session

        session = Session(self.place, run=self._run)
        try:
            return ask(session)
        finally:
            session.close()


pass_context = click.make_pass_decorator(Context)


def echo(text: str = "", error: bool = False) -> None:
    """Print a line."""
    click.echo(text, err=error)


def echo_json(value: Any) -> None:
    """Print a value for machines: one JSON document."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, default=str))


def shown(problem: Problem) -> str:
    """A mistake in a file as a line; its path as seen from the current directory."""
    return str(problem).removeprefix(f"{Path.cwd()}/")


def width() -> int:
    """Columns of the terminal, 80 where there is none."""
    import shutil

    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
