"""Plans that are begun by the command that makes them: signed here, or saved so that colleagues sign them first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from underway.cli.context import Context, echo
from underway.errors import Drifted, NotTrusted, UsageError

if TYPE_CHECKING:
    from underway.core.model.plan import Plan

_PATH = click.Path(dir_okay=False, path_type=Path)

output_option = click.option(
    "-o",
    "--output",
    type=_PATH,
    help="Only save the plan (and FILE.sig), for colleagues to sign ('underway key sign').",
)
signed_option = click.option(
    "--signed", type=_PATH, help="Begin with the signatures of FILE, which this same command saved."
)


def envelope_of(context: Context, plan: Plan, output: Path | None, signed: Path | None) -> bytes | None:
    """The signed plan to begin with; None where it was only saved.

    Raises NotTrusted where too few signed it, Drifted where the saved plan is another one by now.
    """
    from underway.app.planning import read_plan, sign_plan, write_plan

    if output is not None and signed is not None:
        raise UsageError("-o and --signed: give one of them")
    if signed is not None:
        found, envelope = read_plan(context.place, signed)
        if found.digest() != plan.digest():
            raise Drifted([f"{signed} holds plan {found.digest()[:12]}, this command makes {plan.digest()[:12]} now"])
    else:
        envelope = sign_plan(context.place, plan)
    if output is not None:
        write_plan(output, plan, envelope)
        echo(f"saved {output} (digest {plan.digest()[:12]}), {next_of(context, envelope, output)}")
        return None
    try:
        context.session.chain().open_plan(envelope)
    except NotTrusted as error:
        again = "" if signed else "; save the plan by '-o FILE' for that, then the same command with '--signed FILE'"
        raise NotTrusted(f"{error}{again}") from None
    return envelope


def next_of(context: Context, envelope: bytes, path: Path) -> str:
    """Who has signed a saved plan, and who still must."""
    try:
        context.session.chain().open_plan(envelope)
    except NotTrusted as error:
        return str(error).removeprefix("the plan: ").replace("FILE", str(path))
    return "signed"
