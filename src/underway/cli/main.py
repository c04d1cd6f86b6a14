"""The command line: what an operator types. Prints, asks and exits; every decision is made below.

Commands import what they need when they are called, so that ``underway status`` stays cheap.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from underway import __version__
from underway.cli.context import Context, pass_context, shown
from underway.errors import EXIT_BROKEN, FileProblems, UnderwayError

COMMANDS = {
    "init": "setup:init",
    "validate": "setup:validate",
    "schema": "setup:schema",
    "completion": "setup:completion",
    "import": "importing:import_files",
    "enrol": "hosts:enrol",
    "plan": "planning:plan",
    "manifest": "manifest:manifest",
    "simulate": "planning:simulate",
    "export": "planning:export",
    "upgrade": "running:upgrade",
    "rollback": "running:rollback",
    "roll": "rolling:roll",
    "check": "checking:check",
    "status": "showing:status",
    "report": "showing:report",
    "diagnose": "showing:diagnose",
    "log": "showing:log",
    "audit": "showing:audit",
    "pause": "verbs:pause",
    "resume": "verbs:resume",
    "hold": "verbs:hold",
    "release": "verbs:release",
    "retry": "verbs:retry",
    "skip": "verbs:skip",
    "replace": "verbs:replace",
    "drop": "verbs:drop",
    "stamp": "stamping:stamp",
    "abort": "verbs:abort",
    "approve": "verbs:approve",
    "finalize": "verbs:finalize",
    "limit": "verbs:limit",
    "key": "keys:key",
    "serve": "agents:serve",
    "host": "agents:host",
    "agent": "agents:agent",
    "rights": "agents:store_rights",
    "compat": "compat:compat",
    "global-disable": "compat:global_disable",
}
"""Command -> module of this package and name in it, in the order of an operator's day."""

GLOBAL_OPTIONS = ("--cluster", "--state", "--operator", "--run", "--version")
"""Options that stand before the command; given after it, the error says so."""


class Lazy(click.Group):
    """Loads a command's module when the command is used or its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """In the order of an operator's day, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(f"underway.cli.{module}"), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for one that does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from underway.core.nearest import nearest

            ctx.fail(f"there is no command {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="underway")
@click.option("--cluster", metavar="FILE", default="", help="The cluster file (default: ./cluster.yaml).")
@click.option("--state", metavar="DIR", default="", help="The state directory (default: .underway beside the file).")
@click.option("--operator", metavar="NAME", default="", help="Who is doing this, for the audit (default: your login).")
@click.option(
    "--run", metavar="RUN", default="", help="The run that is meant (default: the latest upgrade or rollback)."
)
@click.pass_context
def main(ctx: click.Context, cluster: str, state: str, operator: str, run: str) -> None:
    """Upgrade a running cluster, host by host, while it keeps serving.

    \b
    A first look, in an empty directory:
      underway init                           write an example
      underway enrol                          make its hosts trust you
      underway plan --to 2.0 -o plan.json     what, where, in which order, why
      underway simulate plan.json             the same in virtual time
      underway upgrade plan.json              do it; run again to resume
      underway status                         the whole truth, at any time
      underway report                         one HTML file with every outage

    \b
    Exit codes: 0 done, 1 halted or failed, 2 wrong input, 3 refused,
    4 waits for you, 5 broken (run again), 130 interrupted twice.
    """
    ctx.obj = Context(cluster, state, operator, run)


def run() -> None:
    """The entry point: errors become one line on standard error and the exit code of their kind."""
    try:
        # click returns the code of an Exit here instead of raising it; a command that just ends returns None
        sys.exit(main(standalone_mode=False) or 0)
    except click.Abort:
        click.echo("stopped; nothing was changed", err=True)
        sys.exit(2)
    except click.NoSuchOption as error:
        error.show()
        if error.option_name in GLOBAL_OPTIONS:
            click.echo(f"It stands before the command: underway {error.option_name} ...", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FileProblems as error:
        for problem in error.problems:
            click.echo(shown(problem), err=True)
        click.echo(f"{_count(error)}; nothing was changed", err=True)
        sys.exit(error.exit_code)
    except UnderwayError as error:
        click.echo(f"underway: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        click.echo(f"underway: {error.filename or 'operating system'}: {error.strerror or error}", err=True)
        sys.exit(EXIT_BROKEN)


def _count(error: FileProblems) -> str:
    number = sum(1 for problem in error.problems if getattr(problem, "severity", "error") == "error")
    return f"{number} mistake{'s' if number != 1 else ''}"


__all__: list[Any] = ["main", "pass_context", "run"]

if __name__ == "__main__":
    run()
