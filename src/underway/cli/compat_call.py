"""How a command of ``compat`` is called: its own exit codes for mistakes, and a connection for one thing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from underway.cli.compat_store import Store
from underway.cli.context import echo, shown
from underway.errors import FileProblems, UnderwayError

if TYPE_CHECKING:
    from underway.app.compat import Front

T = TypeVar("T")

COMPLETE, FAILED, IN_PROGRESS, KEPT_OUT, NOT_KNOWN = 0, 1, 2, 9, 2


class Coded(click.Command):
    """A command whose mistakes end with the code that its callers know, and one line."""

    failure = FAILED

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """See click; a wrong command line ends with ``failure``."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(self.failure) from None

    def invoke(self, ctx: click.Context) -> Any:
        """See click; whatever goes wrong ends with ``failure``."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.show()
        except FileProblems as error:
            for problem in error.problems:
                echo(shown(problem), error=True)
            echo("nothing was changed", error=True)
        except UnderwayError as error:
            echo(f"underway: {error}", error=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            echo(f"underway: {error.filename or 'operating system'}: {error.strerror or error}", error=True)
        raise click.exceptions.Exit(self.failure)


class Question(Coded):
    """A host asks whether it may: a mistake means no."""

    failure = KEPT_OUT


class Unknown(Coded):
    """A host asks what there is: a mistake means that it is not known."""

    failure = NOT_KNOWN


def ask(store: Store, work: Callable[[Front], Coroutine[Any, Any, T]], inventory: dict[str, str] | None = None) -> T:
    """Do one thing over a connection of its own."""

    async def whole() -> T:
        from underway.app.compat import Front

        kv = store.open()
        try:
            return await work(Front(kv, store.keys, inventory))
        finally:
            await kv.close()

    return asyncio.run(whole())
